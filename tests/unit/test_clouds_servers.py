"""Which server is a node's, folded from a cloud's listings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.server import Server
from workers.clouds.servers import ServerView, server_from

RAW = {
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
    "metadata": {"lamplighter_cluster": "test", "lamplighter_node": "node7"},
}


def test_an_entry_of_nova_s_is_read() -> None:
    assert server_from(RAW) == Server(
        id="0f9e8d7c",
        name="node1",
        status="ACTIVE",
        task="powering-off",
        address="10.0.0.7",
        cluster="test",
        node="node7",
    )


def test_what_an_entry_may_lack_is_left_out() -> None:
    bare = {"id": "1", "name": "node1", "status": "SHUTOFF", "addresses": None, "metadata": None}
    assert server_from(bare) == Server("1", "node1", "SHUTOFF")


def test_an_error_carries_nova_s_fault() -> None:
    raw = {"id": "1", "name": "node1", "status": "ERROR", "fault": {"message": "No valid host"}}
    assert server_from(raw).fault == "No valid host"


@pytest.mark.parametrize("lacking", ["id", "name", "status"])
def test_an_entry_without_what_every_server_has_is_refused(lacking: str) -> None:
    with pytest.raises(KeyError):
        server_from({name: value for name, value in RAW.items() if name != lacking})


def server(
    number: int,
    name: str = "node1",
    status: str = "ACTIVE",
    *,
    node: str | None = None,
    cluster: str = "test",
) -> Server:
    return Server(f"id-{number}", name, status, node=node, cluster=cluster if node else None)


def view(*servers: Server) -> ServerView:
    made = ServerView("test")
    made.fold(servers, 1.0, whole=True)
    return made


def test_nothing_is_known_before_the_first_listing() -> None:
    assert ServerView("test").as_of == 0.0
    assert ServerView("test").find("node1", "id-1") == ()


def test_a_whole_listing_forgets_what_it_does_not_hold() -> None:
    seen = view(server(1), server(2, "node2"))
    seen.fold([server(2, "node2")], 2.0, whole=True)
    assert seen.find("node1", None) == ()
    assert seen.find("node2", None) == (server(2, "node2"),)
    assert seen.as_of == 2.0


def test_a_listing_of_changes_keeps_the_rest() -> None:
    seen = view(server(1), server(2, "node2"))
    seen.fold([server(2, "node2", "SHUTOFF")], 2.0, whole=False)
    assert seen.find("node1", None) == (server(1),)
    assert seen.find("node2", None) == (server(2, "node2", "SHUTOFF"),)


@pytest.mark.parametrize("gone", ["DELETED", "SOFT_DELETED"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_deleted_server_is_no_server(gone: str, whole: bool) -> None:  # noqa: FBT001
    seen = view(server(1))
    seen.fold([server(1, status=gone)], 2.0, whole=whole)
    assert seen.find("node1", None) == ()
    assert seen.find("node1", "id-1") == ()


def test_a_server_that_was_renamed_or_tagged_is_found_by_what_it_says_now() -> None:
    seen = view(server(1))
    seen.fold([server(1, "node2")], 2.0, whole=False)
    assert seen.find("node1", None) == ()
    assert seen.find("node2", None) == (server(1, "node2"),)
    seen.fold([server(1, "node2", node="node3")], 3.0, whole=False)
    assert seen.find("node2", None) == ()
    assert seen.find("node3", None) == (server(1, "node2", node="node3"),)


def test_the_server_that_we_acted_on_counts_more_than_tags_and_names() -> None:
    seen = view(server(1, "renamed"), server(2), server(3, "x", node="node1"))
    assert seen.find("node1", "id-1") == (server(1, "renamed"),)


def test_one_that_we_acted_on_and_that_is_gone_gives_way_to_its_successor() -> None:
    assert view(server(2)).find("node1", "id-1") == (server(2),)


def test_tags_count_more_than_names() -> None:
    tagged = server(2, "x", node="node1")
    assert view(server(1), tagged).find("node1", None) == (tagged,)


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_what_is_tagged_as_another_cluster_s_is_none_of_ours(node: str) -> None:
    """Two clusters in one project may name their nodes alike."""
    theirs = server(1, "node1", node=node, cluster="other")
    assert view(theirs).find("node1", None) == ()
    assert view(theirs).find("node2", None) == ()
    assert view(theirs, server(2)).find("node1", None) == (server(2),)


def test_a_name_that_several_servers_have_finds_them_all() -> None:
    assert view(server(2), server(1)).find("node1", None) == (server(1), server(2))


SERVERS = st.builds(
    server,
    st.integers(1, 4),
    st.sampled_from(["node1", "node2"]),
    st.sampled_from(["ACTIVE", "SHUTOFF", "DELETED"]),
    node=st.sampled_from([None, "node1", "node2"]),
)


@given(st.lists(st.lists(SERVERS, max_size=4), max_size=5))
def test_changes_one_after_the_other_show_what_one_whole_listing_shows(
    listings: list[list[Server]],
) -> None:
    changing = view()
    last: dict[str, Server] = {}
    for moment, servers in enumerate(listings):
        changing.fold(servers, float(moment), whole=False)
        last |= {one.id: one for one in servers}
    whole = view(*last.values())
    for node in ("node1", "node2"):
        for server_id in (None, *last):
            assert changing.find(node, server_id) == whole.find(node, server_id)
