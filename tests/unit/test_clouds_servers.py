"""A cloud's listings are folded into one view, and a node's server is found in it by our tags or its name."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.server import Server
from workers.clouds.servers import ServerView


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


def test_no_server_is_found_before_the_first_listing() -> None:
    assert ServerView("test").as_of == 0.0
    assert ServerView("test").find("node1", "id-1") == ()


def test_a_whole_listing_drops_servers_that_it_does_not_hold() -> None:
    seen = view(server(1), server(2, "node2"))
    seen.fold([server(2, "node2")], 2.0, whole=True)
    assert seen.find("node1", None) == ()
    assert seen.find("node2", None) == (server(2, "node2"),)
    assert (seen.as_of, seen.whole_as_of) == (2.0, 2.0)


def test_a_listing_of_changes_keeps_the_rest() -> None:
    seen = view(server(1), server(2, "node2"))
    seen.fold([server(2, "node2", "SHUTOFF")], 2.0, whole=False)
    assert seen.find("node1", None) == (server(1),)
    assert seen.find("node2", None) == (server(2, "node2", "SHUTOFF"),)
    assert (seen.as_of, seen.whole_as_of) == (2.0, 1.0)


def test_it_is_known_since_when_a_server_is_on_that_was_off_before() -> None:
    """Also one that has another address since; of one that has always been on, nothing is known."""
    seen = view(server(1), server(2, "node2", "SHUTOFF"))
    assert (seen.on_since("id-1"), seen.on_since("id-2")) == (-math.inf, -math.inf)
    seen.fold([server(2, "node2"), server(3, "node3")], 2.0, whole=False)
    seen.fold([server(2, "renamed"), server(1, "renamed, too")], 3.0, whole=False)
    assert [seen.on_since(f"id-{n}") for n in (1, 2, 3)] == [-math.inf, 2.0, 2.0]
    seen.fold([server(2, status="SHUTOFF")], 4.0, whole=True)
    assert [seen.on_since(f"id-{n}") for n in (1, 2, 3)] == [-math.inf] * 3
    seen.fold([server(2)], 5.0, whole=True)
    assert seen.on_since("id-2") == 5.0


@pytest.mark.parametrize("gone", ["DELETED", "SOFT_DELETED"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_deleted_server_is_dropped(gone: str, whole: bool) -> None:  # noqa: FBT001
    seen = view(server(1))
    seen.fold([server(1, status=gone)], 2.0, whole=whole)
    assert seen.find("node1", None) == ()
    assert seen.find("node1", "id-1") == ()


def test_a_server_is_found_by_its_present_name_and_tags() -> None:
    seen = view(server(1))
    seen.fold([server(1, "node2")], 2.0, whole=False)
    assert seen.find("node1", None) == ()
    assert seen.find("node2", None) == (server(1, "node2"),)
    seen.fold([server(1, "node2", node="node3")], 3.0, whole=False)
    assert seen.find("node2", None) == ()
    assert seen.find("node3", None) == (server(1, "node2", node="node3"),)


@pytest.mark.parametrize(
    "other",
    [
        server(1, "renamed"),
        server(1, "node1", node="node2"),
        server(1, "node1", node="node1", cluster="other"),
        replace(server(1, "node1"), node="node1"),
        replace(server(1, "node1"), cluster="other"),
    ],
    ids=["renamed", "tagged for node2", "of another cluster", "no cluster tag", "no node tag"],
)
def test_a_stored_id_does_not_count_once_the_server_is_another_nodes(other: Server) -> None:
    """Nobody acts on a server whose tags, or whose name if it is untagged, are not the node's."""
    seen = view(other)
    assert seen.find("node1", "id-1") == ()
    assert view(other, server(2)).find("node1", "id-1") == (server(2),)


def test_among_untagged_servers_of_the_name_the_one_acted_on_before_counts() -> None:
    both = view(server(1), server(2))
    assert both.find("node1", "id-2") == (server(2),)
    assert both.find("node1", "id-9") == (server(1), server(2))


def test_all_servers_with_the_nodes_tags_are_found_whichever_was_acted_on_before() -> None:
    """Two of them are a fault that must show, not a choice that is made silently."""
    first, second = server(1, "x", node="node1"), server(2, "y", node="node1")
    seen = view(first, second, server(3))
    for server_id in (None, "id-1", "id-2", "id-3"):
        assert seen.find("node1", server_id) == (first, second)


def test_after_the_server_acted_on_is_gone_its_successor_is_found() -> None:
    assert view(server(2)).find("node1", "id-1") == (server(2),)


def test_tags_count_more_than_names_and_than_a_stored_id() -> None:
    tagged = server(2, "x", node="node1")
    assert view(server(1), tagged).find("node1", None) == (tagged,)
    assert view(server(1), tagged).find("node1", "id-1") == (tagged,)


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_servers_tagged_by_another_cluster_are_not_ours(node: str) -> None:
    """Two clusters in one project may name their nodes alike."""
    theirs = server(1, "node1", node=node, cluster="other")
    assert view(theirs).find("node1", None) == ()
    assert view(theirs).find("node2", None) == ()
    assert view(theirs, server(2)).find("node1", None) == (server(2),)


def test_ours_are_the_tagged_servers_alone() -> None:
    """One that we have only started is its owner's: it may not be deleted before it is adopted."""
    tagged, named = server(1, node="node1"), server(2)
    seen = view(tagged, named)
    assert seen.ours((tagged, named)) == {"id-1"}
    foreign = server(4, node="node1", cluster="other")
    assert seen.ours((foreign,)) == frozenset()


def test_all_servers_with_the_nodes_name_are_found() -> None:
    assert view(server(2), server(1)).find("node1", None) == (server(1), server(2))


NODES = ("node1", "node2")
SERVERS = st.builds(
    Server,
    st.integers(1, 4).map("id-{}".format),
    st.sampled_from(NODES),
    st.sampled_from(["ACTIVE", "SHUTOFF", "DELETED"]),
    node=st.sampled_from([None, *NODES]),
    cluster=st.sampled_from([None, "test", "other"]),
)


@given(st.lists(st.lists(SERVERS, max_size=4), max_size=5))
def test_listings_of_changes_together_show_what_one_whole_listing_shows(
    listings: list[list[Server]],
) -> None:
    changing = view()
    last: dict[str, Server] = {}
    for moment, servers in enumerate(listings):
        changing.fold(servers, float(moment), whole=False)
        last |= {one.id: one for one in servers}
    whole = view(*last.values())
    for node in NODES:
        for server_id in (None, *last):
            assert changing.find(node, server_id) == whole.find(node, server_id)


@given(st.lists(SERVERS, max_size=4, unique_by=lambda one: one.id))
def test_no_server_is_ever_found_for_two_nodes_and_none_by_a_foreign_tag(
    servers: list[Server],
) -> None:
    seen = view(*servers)
    found = [
        {one for server_id in (None, *(s.id for s in servers)) for one in seen.find(n, server_id)}
        for n in NODES
    ]
    assert not found[0] & found[1]
    for node, ones in zip(NODES, found, strict=True):
        for one in ones:
            tagged = (one.cluster, one.node) == ("test", node)
            assert tagged or (one.cluster, one.node, one.name) == (None, None, node)


@given(st.lists(st.tuples(st.lists(SERVERS, max_size=3), st.booleans()), max_size=4))
def test_a_fold_reports_every_node_whose_servers_it_has_changed(
    listings: list[tuple[list[Server], bool]],
) -> None:
    seen = view()
    for moment, (servers, whole) in enumerate(listings):
        before = {node: seen.find(node, None) for node in NODES}
        changed = seen.fold(servers, float(moment), whole=whole)
        assert {node for node in NODES if seen.find(node, None) != before[node]} <= changed
