"""P11: whatever one cloud says, other clouds' nodes go on, and its own requests wait until it speaks sense."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from schemas.events import Transition
from tests.testbed.requests import resume, suspend
from tests.testbed.simcloud.effects import Answer, GoesToError, Says
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.simcloud.settings import NETWORK_ID, Config, ServerSpec, Settings
from tests.testbed.waiting import until
from workers.clouds.errors import CloudSettingError
from workers.clouds.session import CloudSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schemas.commands import PowerCommand
    from schemas.events import RequestEvent
    from tests.testbed.powerbench import PowerBench

    Opens = Callable[..., PowerBench]

# The SDK warns of deprecated parts of itself that it still uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
COMPLETED, FAILED, PARKED = Transition.COMPLETED, Transition.FAILED, Transition.PARKED
SOUND: dict[str, Any] = {
    "id": "70a599e0-31e7-49b7-b260-868f441e862b",
    "name": "main1",
    "status": "SHUTOFF",
    "OS-EXT-STS:task_state": None,
    "addresses": {"private": [{"addr": "10.0.0.1", "OS-EXT-IPS:type": "fixed", "version": 4}]},
    "metadata": {},
}


def page(**odd: object) -> str:
    return json.dumps({"servers": [SOUND, SOUND | odd]})


LISTINGS = {
    "name is a dict": page(name={}),
    "id is a list": page(id=[]),
    "id is a path": page(id="../../v3"),
    "status is a list": page(status=[]),
    "half a surrogate pair in a name": page(name="\ud800"),
    "half a surrogate pair in a status": page(status="\ud800"),
    "NUL in a status": page(status="A\x00"),
    "huge status": page(status="A" * 100_000),
    "task is a number": page(**{"OS-EXT-STS:task_state": 5}),
    "fault is a text": page(status="ERROR", fault="boom"),
    "fault of a list": page(status="ERROR", fault={"message": [1]}),
    "address is a dict": page(addresses={"n": [{"addr": {"a": 1}}]}),
    "address with words": page(addresses={"n": [{"addr": "10.0.0.1 State=DOWN"}]}),
    "address with a scope": page(addresses={"n": [{"addr": "fe80::1% State=DOWN"}]}),
    "addresses are a list": page(addresses=[1]),
    "metadata is a text": page(metadata="x"),
    "tag is a dict": page(metadata={"lamplighter_node": {}}),
    "server is null": json.dumps({"servers": [None]}),
    "servers are an object": json.dumps({"servers": {}}),
    "not an object": "[]",
    "not JSON": "<html></html>",
    "empty": "",
    "nested too deeply": '{"servers": ' + "[" * 200_000,
    "pages without end": json.dumps({"servers": [SOUND], "servers_links": [{"rel": "next"}]}),
}
CATALOGS: dict[str, object] = {
    "catalog is a text": {"catalog": "x"},
    "service is null": {"catalog": [None]},
    "endpoint is a list": {"catalog": [{"type": "compute", "endpoints": [[]]}]},
    "url is a number": {
        "catalog": [
            {
                "type": "compute",
                "endpoints": [{"interface": "public", "region": None, "url": 5}],
            }
        ]
    },
}


@pytest.fixture(scope="module")
def well() -> Iterator[SimCloud]:
    """Another cloud, with nodes well1 to well9, that is always in order."""
    with SimCloud(Config(settings=Settings(boot_seconds=0.1, stop_seconds=0.1))) as cloud:
        cloud.add_servers([f"well{number}" for number in range(1, 10)])
        yield cloud


def completes(bench: PowerBench, *asked: PowerCommand) -> None:
    assert {told.transition for told in bench.endings(*asked, timeout=40)} == {COMPLETED}


def test_a_listing_that_cannot_be_read_makes_its_cloud_away_alone(
    open_power_bench: Opens, power_cloud: SimCloud, well: SimCloud
) -> None:
    """Each odd listing in turn: the other cloud's node comes up or goes down meanwhile."""
    bench = open_power_bench({"well": well})
    for number, (name, text) in enumerate(LISTINGS.items()):
        make = suspend if number % 2 else resume
        power_cloud.inject(Fault(effect=Says(text=text), kind="lists"))
        sick, sound = make("main1"), make("well1")
        bench.ask(sick)
        bench.saw(sick, PARKED)
        bench.ask(sound)
        completes(bench, sound)
        [parked] = [event for event in bench.events(sick) if event.transition is PARKED][:1]
        assert parked.cause is not None, name
        assert parked.cause.error == "unreadable_answer", name
        assert parked.cause.message.isprintable(), name
        assert "main: unreadable_answer" in bench.engine.state, name
        power_cloud.clear_faults()
        completes(bench, sick)
    bench.alive()


def test_a_cloud_whose_ca_file_cannot_be_used_is_away_alone_until_it_can(
    open_power_bench: Opens,
    power_cloud: SimCloud,
    well: SimCloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem, request, broken = "ca_file of this cloud: x cannot be read", CloudSession.request, True

    def send(session: CloudSession, *words: Any, **how: Any) -> Any:  # noqa: ANN401 - its arguments
        if broken and session._settings.auth_url == power_cloud.auth_url:
            raise CloudSettingError(problem)
        return request(session, *words, **how)

    monkeypatch.setattr(CloudSession, "request", send)
    bench = open_power_bench({"well": well})
    sick, sound = resume("main4"), resume("well4")
    bench.ask(sick, sound)
    completes(bench, sound)
    bench.saw(sick, PARKED)
    assert f"away: main: misconfigured: {problem}" in bench.engine.state
    broken = False
    completes(bench, sick)
    assert "away" not in bench.engine.state


def test_an_engine_that_starts_meets_the_same_listing_and_serves_the_other_cloud(
    open_power_bench: Opens, power_cloud: SimCloud, well: SimCloud
) -> None:
    power_cloud.inject(Fault(effect=Says(text=page(status=[])), kind="lists"))
    bench = open_power_bench({"well": well})
    sick, sound = resume("main2"), resume("well2")
    bench.ask(sick, sound)
    completes(bench, sound)
    bench.saw(sick, PARKED)
    power_cloud.clear_faults()
    completes(bench, sick)


@pytest.mark.parametrize("odd", CATALOGS.values(), ids=list(CATALOGS))
def test_a_catalog_that_cannot_be_read_makes_its_cloud_away_alone(
    open_power_bench: Opens, power_cloud: SimCloud, well: SimCloud, odd: dict[str, object]
) -> None:
    """Here keystoneauth reads the catalog itself, and raises whatever it raises."""
    token = {
        "expires_at": "2100-01-01T00:00:00Z",
        "issued_at": "2026-01-01T00:00:00Z",
        "user": {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}},
        "methods": ["password"],
    }
    text = json.dumps({"token": token | odd})
    power_cloud.inject(Fault(effect=Says(text=text, status=201), kind="token_password"))
    bench = open_power_bench({"well": well})
    sick, sound = resume("main3"), suspend("well3")
    bench.ask(sick, sound)
    completes(bench, sound)
    bench.saw(sick, PARKED)
    assert bench.site.depth("power.dlq") == 0
    bench.alive()


def ends(bench: PowerBench, asked: PowerCommand, error: str) -> RequestEvent:
    told = bench.ending(asked, timeout=40)
    assert told.transition is FAILED
    assert told.cause is not None
    assert told.cause.error == error
    return told


TEMPLATE = (
    'strategy = "delete"\nboots = 2\ncool_down = 30\nserver = {{ image = "{image}",'
    ' flavor = "m1.tiny" }}'
)


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"server": {}}', '{"server": {"id": []}}', '{"server": {"id": "../x"}}'],
)
def test_an_odd_answer_to_a_creation_leads_to_no_second_server(
    open_power_bench: Opens, power_cloud: SimCloud, body: str
) -> None:
    power_cloud.remove_servers()
    bench = open_power_bench(group=TEMPLATE.format(image="node-image"), power={"api_timeout": 1.0})
    power_cloud.inject(
        Fault(effect=Says(text=body, status=202, performed=True), kind="create", times=1)
    )
    up = resume("main1")
    bench.ask(up)
    completes(bench, up)
    assert power_cloud.counts()["create"] == 1


@pytest.mark.parametrize("page", ["<html>The requested URL was rejected.</html>", "[]", '"done"'])
def test_a_page_in_place_of_an_answer_does_not_count_as_a_call(
    open_power_bench: Opens, power_cloud: SimCloud, page: str
) -> None:
    """Somebody in between keeps the calls, and says 200: no attempt is spent, nothing has been done."""
    bench = open_power_bench()
    power_cloud.inject(Fault(effect=Says(text=page), kind="start"))
    up = resume("main1")
    bench.ask(up)
    bench.saw(up, PARKED)
    [parked] = [told for told in bench.events(up) if told.transition is PARKED][:1]
    assert (parked.attempt, parked.cause and parked.cause.error) == (0, "unreadable_answer")
    power_cloud.clear_faults()
    completes(bench, up)
    results = [one.result for one in bench.ending(up).actions or ()]
    assert results.count("done") == 1


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("images", '{"images": [null]}'),
        ("images", '{"images": [{"id": [], "name": "node-image"}]}'),
        ("images", "[" * 200_000),
        ("image_version", '{"versions": [{"id": 5, "links": "x", "status": []}]}'),
        ("image_version", '{"versions": {"values": 7}}'),
        ("flavors", '{"flavors": [{"id": {}, "name": []}]}'),
        ("flavors", '{"flavors": 1}'),
        ("compute_version", '{"version": {"id": [], "links": 5}}'),
    ],
)
def test_an_odd_answer_to_a_look_up_is_an_outage_that_passes(
    open_power_bench: Opens, power_cloud: SimCloud, well: SimCloud, kind: str, odd: str
) -> None:
    power_cloud.remove_servers()
    bench = open_power_bench({"well": well}, group=TEMPLATE.format(image="node-image"))
    number = power_cloud.inject(Fault(effect=Says(text=odd), kind=kind))
    up = resume("main1")
    bench.ask(up)
    until(
        lambda: power_cloud.counts().get(kind) or bench.transitions(up)[-1:] == [COMPLETED],
        20,
        "it",
    )
    power_cloud.remove_fault(number)
    completes(bench, up)
    assert bench.site.depth("power.dlq") == 0
    bench.alive()


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (Answer(status=403, message="Maximum number of ports exceeded"), "quota"),
        (
            Answer(status=409, message="No more IP addresses available on network x."),
            "no_addresses",
        ),
        (GoesToError(message="Exhausted all hosts available for retrying."), "no_valid_host"),
        (GoesToError(message="Maximum number of volumes allowed (10) exceeded"), "quota"),
    ],
)
def test_a_group_rests_after_any_words_of_no_room(
    open_power_bench: Opens, power_cloud: SimCloud, effect: Answer | GoesToError, error: str
) -> None:
    """In the answer to a call, and in the fault of a server in ERROR, alike: no call is made in vain."""
    power_cloud.remove_servers()
    bench = open_power_bench(group=TEMPLATE.format(image="node-image"))
    power_cloud.inject(Fault(effect=effect, kind="create"))
    first, second = resume("main1"), resume("main2")
    bench.ask(first)
    told = ends(bench, first, error)
    assert told.cause is not None
    assert "group main rests for 30 s" in told.cause.message
    bench.ask(second)
    ends(bench, second, error)
    assert power_cloud.counts()["create"] == 1


def test_an_ambiguous_network_is_final_at_the_first_answer(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    power_cloud.remove_servers()
    bench = open_power_bench(group=TEMPLATE.format(image="node-image"))
    words = "Multiple possible networks found, use a Network ID to be more specific."
    power_cloud.inject(Fault(effect=Answer(status=409, message=words), kind="create"))
    up = resume("main1")
    bench.ask(up)
    told = ends(bench, up, "bad_template")
    assert told.cause is not None
    assert "name the network" in told.cause.message
    assert power_cloud.counts()["create"] == 1


def test_the_nodes_address_is_told_by_network_and_family(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    """Never a link-local one, and never by the order of JSON."""
    power_cloud.remove_servers()
    networks = {
        "storage": ["10.9.0.7"],
        "slurm": ["169.254.1.1", "2001:db8::7", "10.1.0.7"],
        "admin": ["10.0.0.7"],
    }
    names = [f"main{number}" for number in range(1, 10)]
    power_cloud.add_servers([ServerSpec(name=name, networks=networks) for name in names])
    bench = open_power_bench(group='network = "slurm"')
    up = resume("main1")
    bench.ask(up)
    assert bench.ending(up).address == "10.1.0.7"


def test_a_network_that_the_template_names_by_id_is_known_in_listings_too(
    open_power_bench: Opens, power_cloud: SimCloud
) -> None:
    """Nova lists addresses by the network's name."""
    power_cloud.remove_servers()
    power_cloud.add_servers(
        [ServerSpec(name="main1", networks={"admin": ["10.0.0.7"], "private": ["10.1.0.7"]})]
    )
    server = f'server = {{{{ image = "i", flavor = "f", networks = ["{NETWORK_ID}"] }}}}'
    bench = open_power_bench(group=server.format())
    up = resume("main1")
    bench.ask(up)
    assert bench.ending(up).address == "10.1.0.7"
