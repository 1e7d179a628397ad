"""A cloud's servers, folded from listings; which of them, and which address, is a node's."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from schemas.addresses import address_from, reaches_a_node
from schemas.server import Server
from workers.config.groups import GroupSettings

_ON = "ACTIVE"
DELETED = frozenset({"DELETED", "SOFT_DELETED"})
NODE_KEY = "lamplighter_node"
CLUSTER_KEY = "lamplighter_cluster"
REQUEST_KEY = "lamplighter_request"


@dataclass(slots=True)
class ServerView:
    """All servers of a cloud's project, as of the last listing.

    Attributes:
        cluster: the cluster whose tags are ours.
        as_of: monotonic seconds when the last listing was requested; 0 before the first.
        whole_as_of: the same for the last listing of all servers, not only of those that changed.
    """

    cluster: str
    as_of: float = 0.0
    whole_as_of: float = 0.0
    _servers: dict[str, Server] = field(default_factory=dict)
    _ids_by_node: dict[str, set[str]] = field(default_factory=dict)
    _on_since: dict[str, float] = field(default_factory=dict)

    def fold(self, servers: Iterable[Server], as_of: float, *, whole: bool) -> set[str]:
        """Take in a listing; `whole` means that it holds every server of the project.

        Returns:
            The nodes whose servers have changed.
        """
        listed = {server.id: server for server in servers}
        changed: set[str | None] = set()
        for server_id in set(self._servers) - set(listed) if whole else ():
            changed.add(self._forget(server_id))
        for server in listed.values():
            known = self._servers.get(server.id)
            if known == server:
                continue
            since = self.on_since(server.id) if known and known.status == _ON else as_of
            if known is not None:
                changed.add(self._forget(server.id))
            if server.status not in DELETED:
                changed.add(self._keep(server))
            if server.status == _ON and self.as_of:
                self._on_since[server.id] = since
        self.as_of = as_of
        if whole:
            self.whole_as_of = as_of
        return {node for node in changed if node is not None}

    @property
    def servers(self) -> tuple[Server, ...]:
        """All of them."""
        return tuple(self._servers.values())

    def lists(self, server_id: str) -> bool:
        """Whether a server of this id is among them."""
        return server_id in self._servers

    def on_since(self, server_id: str) -> float:
        """When the first listing that showed a server on was requested; -infinity if none showed it off before."""
        return self._on_since.get(server_id, -inf)

    def find(self, node: str, server_id: str | None) -> tuple[Server, ...]:
        """The node's server; none or several where that is not clear.

        All servers that carry the node's tags count. Without such a server, an untagged one that
        has the node's name counts; among several of them, the one that we acted on as `server_id`.
        A server that is tagged for another node is never found, whatever its id or its name.
        """
        found = [self._servers[key] for key in sorted(self._ids_by_node.get(node, ()))]
        tagged = [server for server in found if self._is_tagged(server)]
        if tagged:
            return tuple(tagged)
        known = [server for server in found if server.id == server_id]
        return tuple(known or found)

    def ours(self, servers: Iterable[Server]) -> frozenset[str]:
        """The ids of those that carry our tags: only they may be deleted."""
        return frozenset(s.id for s in servers if self._is_tagged(s))

    def _is_tagged(self, server: Server) -> bool:
        return server.node is not None and server.cluster == self.cluster

    def _node_of(self, server: Server) -> str | None:
        """The node that a server can be: by our tags, else by its name if it has no such tag."""
        if self._is_tagged(server):
            return server.node
        return server.name if server.cluster is None and server.node is None else None

    def _keep(self, server: Server) -> str | None:
        node = self._node_of(server)
        self._servers[server.id] = server
        if node is not None:
            self._ids_by_node.setdefault(node, set()).add(server.id)
        return node

    def _forget(self, server_id: str) -> str | None:
        self._on_since.pop(server_id, None)
        node = self._node_of(self._servers.pop(server_id))
        if node is not None and len(self._ids_by_node[node]) > 1:
            self._ids_by_node[node].discard(server_id)
        elif node is not None:
            # names of other users' servers are always new ones: keep no empty entry
            del self._ids_by_node[node]
        return node


def is_id(name: str) -> bool:
    """Whether it is an id, which needs no look-up, nor the service that knows names.

    Glance and Neutron write theirs with dashes: other spellings, which uuid.UUID knows too, are names.
    """
    try:
        return str(uuid.UUID(name)) == name.lower()
    except ValueError:
        return False


def networks_of(group: GroupSettings) -> tuple[str | None, str | None]:
    """The network that alone counts for a group, and the one that comes first: names or ids."""
    server = group.server
    return group.network, server.networks[0] if server and server.networks else None


def node_address(server: Server, group: GroupSettings) -> str | None:
    """The address of a node, or None if its server has none that other hosts can reach.

    From the group's `network` alone, if it is set; else from the first network of its template if
    the server has a port there, else from the first by name. On a network, addresses of the group's
    `ip_version` come first, and then the lowest one: the order of Nova's JSON means nothing.
    """
    only, first = networks_of(group)
    found = (
        (one.network, address)
        for one in server.addresses
        if (address := address_from(one.address)) is not None and reaches_a_node(address)
    )
    ranked = [
        # under its id a network is there only because another group names it so
        (
            network != first,
            is_id(network),
            network,
            of.version != group.ip_version,
            int(of),
            str(of),
        )
        for network, of in found
        if only in {None, network}
    ]
    return min(ranked)[-1] if ranked else None
