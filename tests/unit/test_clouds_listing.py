"""Servers are read from Nova's answers as strictly as messages: a server, or an error that names the field."""

from __future__ import annotations

import json
import time
import unicodedata
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1.identity import v3

from schemas.addresses import address_from
from schemas.fields import is_cluster_name, is_node_name
from schemas.server import NetworkAddress, Server
from workers.clouds import client
from workers.clouds.errors import CloudError
from workers.clouds.listing import page_from, server_from
from workers.clouds.servers import node_address
from workers.config.groups import CloudSettings, GroupSettings, ServerTemplate
from workers.config.logins import PasswordSource
from workers.process.foreign import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

TAGS = {"lamplighter_cluster": "test", "lamplighter_node": "node7"}
RAW: dict[str, Any] = {
    "id": "0f9e8d7c",
    "name": "node1",
    "status": "ACTIVE",
    "OS-EXT-STS:task_state": "powering-off",
    "addresses": {
        "tenant": [
            {"addr": "192.0.2.7", "OS-EXT-IPS:type": "floating"},
            {"addr": "10.0.0.7", "OS-EXT-IPS:type": "fixed"},
        ]
    },
    "metadata": TAGS,
}


def shown(**fields: object) -> bytes:
    """An answer of Nova's about one server."""
    return json.dumps({"server": fields}).encode()


def listed(*servers: object) -> bytes:
    """A page of Nova's."""
    return json.dumps({"servers": servers}).encode()


def test_a_server_is_read_as_nova_shows_it() -> None:
    assert server_from(shown(**RAW)) == Server(
        id="0f9e8d7c",
        name="node1",
        status="ACTIVE",
        task="powering-off",
        addresses=(NetworkAddress("tenant", "10.0.0.7"),),
        cluster="test",
        node="node7",
    )


def test_fields_that_nova_leaves_out_stay_empty() -> None:
    bare = shown(id="1", name="node1", status="SHUTOFF", addresses=None, metadata=None)
    assert server_from(bare) == Server("1", "node1", "SHUTOFF")


def test_a_server_in_error_carries_novas_fault_on_one_line() -> None:
    fault = {"message": "No valid\nhost \x1b[31m\x00" + "x" * 10_000}
    raw = shown(id="1", name="node1", status="ERROR", fault=fault)
    words = server_from(raw).fault
    assert words is not None
    assert words.startswith("No valid host [31m x")
    assert len(words) == 500


@pytest.mark.parametrize("lacking", ["id", "name", "status"])
def test_a_server_without_id_name_or_status_is_refused(lacking: str) -> None:
    with pytest.raises(UnreadableError, match=lacking):
        server_from(shown(**{name: value for name, value in RAW.items() if name != lacking}))


ADDRESS = {"addr": "10.0.0.7", "OS-EXT-IPS:type": "fixed"}
ODD: list[tuple[str, Any]] = [
    ("id", []),
    ("id", ""),
    ("id", None),
    ("id", "../servers"),
    ("id", "a/b"),
    ("id", "a?b"),
    ("id", "a\n"),
    ("id", "a" * 300),
    ("name", {}),
    ("name", None),
    ("name", "a\x00b"),
    ("name", "a\nb"),
    ("name", "a\u2028b"),
    ("name", "a\u0085b"),
    ("name", "a\u202eb"),
    ("name", "a" * 300),
    ("status", []),
    ("status", "\x00"),
    ("status", "A\x00"),
    ("status", "A" * 100_000),
    ("status", "AKTÍV"),
    ("status", ""),
    ("OS-EXT-STS:task_state", {}),
    ("OS-EXT-STS:task_state", "x" * 65),
    ("fault", "boom"),
    ("fault", []),
    ("fault", {"message": [1]}),
    ("addresses", [1]),
    ("addresses", {"n": {}}),
    ("addresses", {"n": ["10.0.0.7"]}),
    ("addresses", {"n": [{"OS-EXT-IPS:type": "fixed"}]}),
    ("addresses", {"n": [{"addr": {"a": 1}}]}),
    ("addresses", {"n": [{"addr": None}]}),
    ("addresses", {"n": [{"addr": "10.0.0.1 State=DOWN"}]}),
    ("addresses", {"n": [{"addr": "10.0.0.1,10.0.0.2"}]}),
    ("addresses", {"n": [{"addr": "fe80::1%eth0 State=DOWN"}]}),
    ("addresses", {"n": [{"addr": "node.example.org"}]}),
    ("addresses", {"n": [{"addr": "010.0.0.1"}]}),
    ("addresses", {"n": [{"addr": "10.0.0.1\n"}]}),
    ("addresses", {"n": [{**ADDRESS, "OS-EXT-IPS:type": 4}]}),
    ("addresses", {"n" * 300: [ADDRESS]}),
    ("metadata", "x"),
    ("metadata", {"a": {}}),
    ("metadata", {"a": None}),
    ("metadata", {"a": "x" * 300}),
    ("metadata", {"lamplighter_node": {}, "lamplighter_cluster": "test"}),
]


@pytest.mark.parametrize(("field", "value"), ODD)
def test_an_odd_field_makes_the_whole_listing_unreadable(field: str, value: object) -> None:
    """The error names the field, and repeats nothing of what was said."""
    with pytest.raises(UnreadableError) as caught:
        page_from(listed(RAW, RAW | {field: value}))
    assert field in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("field", ["id", "name", "status", "OS-EXT-STS:task_state"])
def test_half_a_surrogate_pair_makes_the_whole_listing_unreadable(field: str) -> None:
    with pytest.raises(UnreadableError):
        page_from(listed(RAW | {field: "\ud800"}))


@pytest.mark.parametrize("server", [None, [], 5, "x", {}])
def test_what_is_not_a_server_makes_the_whole_listing_unreadable(server: object) -> None:
    with pytest.raises(UnreadableError):
        page_from(listed(server))


@pytest.mark.parametrize(
    ("tags", "cluster", "node"),
    [
        (TAGS, "test", "node7"),
        ({**TAGS, "lamplighter_node": "node 7"}, "test", None),
        ({**TAGS, "lamplighter_node": "a\x00\n"}, "test", None),
        ({**TAGS, "lamplighter_cluster": "\x1b[31m"}, "", "node7"),
        ({"lamplighter_node": "-"}, "", None),
        ({"other": "two\nlines"}, None, None),
    ],
)
def test_a_tag_that_is_not_a_name_makes_a_server_nobodys(
    tags: dict[str, str], cluster: str | None, node: str | None
) -> None:
    """Anybody in the project may write it, so it must not take the cloud away."""
    [server], _ = page_from(listed(RAW | {"metadata": tags}))
    assert (server.cluster, server.node) == (cluster, node)


def test_names_of_other_peoples_servers_may_be_any_that_nova_takes() -> None:
    for name in (
        "Ωmega 🚀 box",
        "x" * 255,
        "",
        "a;b$(c)",
        "un\u00a0nom",
        "\u3000名\u2009",
        "newer than our Unicode \u0cfd4\U0001faff",
        "private \ue000",
    ):
        [server], _ = page_from(listed(RAW | {"name": name}))
        assert server.name == name


def test_a_server_with_many_addresses_does_not_take_its_cloud_away() -> None:
    many = {"n": [ADDRESS | {"addr": f"10.0.0.{number}"} for number in range(1, 101)]}
    [server], _ = page_from(listed(RAW | {"addresses": many}))
    assert len(server.addresses) == 100


@pytest.mark.parametrize(
    ("page", "ids", "more"),
    [
        ({"servers": []}, [], False),
        ({"servers": [RAW]}, ["0f9e8d7c"], False),
        ({"servers": [RAW], "servers_links": [{"rel": "next", "href": "x"}]}, ["0f9e8d7c"], True),
        ({"servers": [RAW], "servers_links": [{"rel": "self"}]}, ["0f9e8d7c"], False),
        ({"servers": [], "servers_links": [{"rel": "next"}]}, [], False),
    ],
)
def test_a_page_has_a_next_one_where_nova_links_it(
    page: dict[str, object],
    ids: list[str],
    more: bool,  # noqa: FBT001
) -> None:
    servers, has_more = page_from(json.dumps(page).encode())
    assert ([one.id for one in servers], has_more) == (ids, more)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"servers": 7}',
        b'{"servers": [{}]}',
        b"\xff",
        b'{"servers": [' + b"[" * 100_000,
        b'{"x": ' + b"[" * 100_000,
        b'{"servers": [], "x": ' + b'{"a":' * 100_000,
        b"<html>502 Bad Gateway</html>",
    ],
)
def test_a_body_that_is_not_a_listing_is_refused(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(UnreadableError):
        page_from(body)
    assert time.process_time() - began < 1.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "addr", "message", *RAW, *TAGS]) | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
SERVERS = st.fixed_dictionaries({}, optional=dict.fromkeys(RAW, JSON)).map(lambda odd: RAW | odd)


def check(server: Server) -> None:
    """Whatever a listing yields can be a key, a part of a path, an argument, a row and a line."""
    assert server.id.isascii()
    assert not set(server.id) & set("/?#% \n")
    assert server.status.isprintable()
    assert not any(unicodedata.category(char)[0] == "C" for char in server.name)
    assert server.task is None or server.task.isprintable()
    assert server.fault is None or (server.fault.isprintable() and len(server.fault) <= 500)
    assert server.node is None or is_node_name(server.node)
    assert not server.cluster or is_cluster_name(server.cluster)
    for network, address in server.addresses:
        assert str(address_from(address)) == address
        assert len(network) <= 255
    assert repr(server).encode()


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_a_listing_or_a_named_error(body: bytes) -> None:
    for read in (page_from, server_from):
        try:
            read(body)
        except UnreadableError as error:
            assert str(error).isprintable()  # noqa: PT017 - one of two ends


@given(st.lists(SERVERS, max_size=3))
def test_any_servers_are_well_formed_or_a_named_error(servers: list[dict[str, Any]]) -> None:
    try:
        page, more = page_from(listed(*servers))
    except UnreadableError as error:
        assert str(error).isprintable()  # noqa: PT017 - one of two ends
        return
    assert not more
    assert len(page) == len(servers)
    for server in page:
        check(server)


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "slurm"]),
        st.lists(st.ip_addresses().map(str), max_size=3),
        max_size=3,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_novas_json_means_nothing(
    networks: dict[str, list[str]],
    random: Any,  # noqa: ANN401 - hypothesis'
) -> None:
    def server(names: list[str]) -> Server:
        addresses = {name: [{"addr": one} for one in networks[name]] for name in names}
        return server_from(shown(**RAW | {"addresses": addresses}))

    names = list(networks)
    first = server(names)
    random.shuffle(names)
    for addresses in networks.values():
        random.shuffle(addresses)
    assert server(names) == first


class Flood:
    """Answers each request for a page with a hundred new servers and a link to the next one."""

    def __init__(self) -> None:
        self.served = 0

    def request(self, *_: object, **__: object) -> SimpleNamespace:
        new = [RAW | {"id": f"s{self.served + number}"} for number in range(100)]
        self.served += len(new)
        body = json.dumps({"servers": new, "servers_links": [{"rel": "next"}]}).encode()
        return SimpleNamespace(content=body, headers={"Date": "Wed, 21 Oct 2015 07:28:00 GMT"})


def test_a_listing_keeps_no_more_servers_than_its_pages_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cloud may ignore how many we want on a page."""
    monkeypatch.setattr(client, "PAGE", 10)
    flood = Flood()
    cloud = cloud_with(flood)
    with pytest.raises(CloudError, match="more than 2000 servers"):
        cloud.list_servers(None)
    assert flood.served <= 2200


NETWORK_ID = "6f1b2c3d-1111-4222-8333-444455556666"


class TwoNetworks:
    """Answers instead of Nova and Neutron; Neutron knows the id of the network `zone`."""

    def __init__(self) -> None:
        self.neutron_is_away = False

    def request(self, _method: str, path: str, **__: object) -> SimpleNamespace:
        if path == "/networks":
            if self.neutron_is_away:
                raise CloudError(503, "away")
            body: object = {"networks": [{"id": NETWORK_ID, "name": "zone"}]}
        else:
            addresses = {"external": [{"addr": "10.9.0.1"}], "zone": [{"addr": "10.0.0.1"}]}
            body = {"servers": [RAW | {"addresses": addresses}]}
        headers = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
        return SimpleNamespace(content=json.dumps(body).encode(), headers=headers)


@pytest.mark.parametrize("other", [None, "zone", NETWORK_ID])
@pytest.mark.parametrize("network", [None, "zone", NETWORK_ID])
@pytest.mark.parametrize("first", [None, "zone", NETWORK_ID])
def test_a_network_is_the_same_by_its_name_and_by_its_id_in_every_group(
    first: str | None, network: str | None, other: str | None
) -> None:
    """One group may name it by its name, another one by its id; `network` and the template, too."""

    def group(first: str | None, network: str | None) -> GroupSettings:
        template = ServerTemplate(image="i", flavor="f", networks=(first or "auto",))
        return GroupSettings(nodes="n1", cloud="c", server=template, network=network)

    groups = {"ours": group(first, network), "other": group(other, None)}
    cloud = cloud_with(TwoNetworks(), groups)
    (server,) = cloud.list_servers(None).servers
    wanted = "10.9.0.1" if first is network is None else "10.0.0.1"
    assert node_address(server, groups["ours"]) == wanted


def test_a_network_that_neutron_did_not_tell_is_asked_for_soon_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then a node's address could be one of another network."""
    answers = TwoNetworks()
    answers.neutron_is_away = True
    group = GroupSettings(nodes="n1", cloud="c", network=NETWORK_ID)
    cloud = cloud_with(answers, {"ours": group})
    (server,) = cloud.list_servers(None).servers
    assert node_address(server, group) is None
    answers.neutron_is_away = False
    later = time.monotonic() + 61.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    (server,) = cloud.list_servers(None).servers
    assert node_address(server, group) == "10.0.0.1"


def cloud_with(answers: object, groups: Mapping[str, GroupSettings] | None = None) -> client.Cloud:
    """A client of a cloud whose HTTP session is replaced."""
    source = PasswordSource(username="u", password_command=("true",))
    settings = CloudSettings(auth_url="http://127.0.0.1:1/v3", source=source, project_id="p")
    auth = v3.Password("http://127.0.0.1:1/v3", "-")
    cloud = client.Cloud(settings, auth, 1.0, groups=groups)
    cloud._session = answers  # type: ignore[assignment]
    return cloud
