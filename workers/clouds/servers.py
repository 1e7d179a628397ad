"""What a cloud shows of its servers, folded from listings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.server import Server

DELETED = frozenset({"DELETED", "SOFT_DELETED"})
NODE_KEY = "lamplighter_node"
CLUSTER_KEY = "lamplighter_cluster"
REQUEST_KEY = "lamplighter_request"


def server_from(raw: Mapping[str, Any]) -> Server:
    """Read one entry of `GET /servers/detail`.

    Raises:
        KeyError, TypeError: the entry lacks what every server has.
    """
    metadata = raw.get("metadata") or {}
    fault = raw.get("fault") or {}
    return Server(
        id=raw["id"],
        name=raw["name"],
        status=raw["status"],
        task=raw.get("OS-EXT-STS:task_state"),
        fault=fault.get("message"),
        address=_address(raw.get("addresses") or {}),
        cluster=metadata.get(CLUSTER_KEY),
        node=metadata.get(NODE_KEY),
    )


def _address(networks: Mapping[str, Any]) -> str | None:
    fixed = (
        entry.get("addr")
        for entries in networks.values()
        for entry in entries
        if entry.get("OS-EXT-IPS:type", "fixed") == "fixed"
    )
    return next(fixed, None)


@dataclass(slots=True)
class ServerView:
    """All servers of a cloud's project, as of the last listing.

    Attributes:
        as_of: monotonic seconds when that listing was requested; 0 before the first.
    """

    cluster: str
    as_of: float = 0.0
    _servers: dict[str, Server] = field(default_factory=dict)
    _ids_by_node: dict[str | None, set[str]] = field(default_factory=dict)

    def fold(self, servers: Iterable[Server], as_of: float, *, whole: bool) -> None:
        """Take in a listing; `whole` says that it lists all there is, not only what changed."""
        if whole:
            self._servers.clear()
            self._ids_by_node.clear()
        for server in servers:
            self._forget(server.id)
            if server.status not in DELETED:
                self._servers[server.id] = server
                self._ids_by_node.setdefault(self._node_of(server), set()).add(server.id)
        self.as_of = as_of

    @property
    def servers(self) -> tuple[Server, ...]:
        """All of them."""
        return tuple(self._servers.values())

    def find(self, node: str, server_id: str | None) -> tuple[Server, ...]:
        """The node's server; none or several where that is not clear.

        The server id that we acted on counts most, then our tags, then the name of one that is not
        tagged as another cluster's.
        """
        if server_id is not None and server_id in self._servers:
            return (self._servers[server_id],)
        found = [self._servers[key] for key in sorted(self._ids_by_node.get(node, ()))]
        tagged = [server for server in found if self._is_tagged(server)]
        return tuple(tagged or found)

    def ours(self, servers: Iterable[Server], server_id: str | None) -> frozenset[str]:
        """The ids of those that carry our tags, or that we have acted on as `server_id`."""
        return frozenset(s.id for s in servers if self._is_tagged(s) or s.id == server_id)

    def _is_tagged(self, server: Server) -> bool:
        return server.node is not None and server.cluster == self.cluster

    def _node_of(self, server: Server) -> str | None:
        """The node it can be; none where its tags say that it is another cluster's."""
        if self._is_tagged(server):
            return server.node
        return server.name if server.cluster is None else None

    def _forget(self, server_id: str) -> None:
        known = self._servers.pop(server_id, None)
        if known is not None:
            self._ids_by_node[self._node_of(known)].discard(server_id)
