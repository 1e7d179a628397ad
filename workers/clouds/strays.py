"""Which servers are ours but not the server of a node. Pure."""

from collections.abc import Iterable

from schemas.server import Server
from workers.clouds.actions import Strategy
from workers.config.settings import Settings


def is_stray(settings: Settings, cloud: str, server: Server) -> bool:
    """Whether a server bears our tags, and its node is in no group of that cloud."""
    if server.cluster != settings.cluster or server.node is None:
        return False
    group = settings.nodes.get(server.node)
    return group is None or settings.groups[group].cloud != cloud


def is_surplus(
    settings: Settings, cloud: str, server: Server, own_id: str | None, servers: Iterable[Server]
) -> bool:
    """Whether a server bears a node's tags beside the node's own server, and may be deleted.

    Args:
        settings: all of lamplighter.toml.
        cloud: the server's cloud.
        server: the server.
        own_id: of the server that was acted on last for the node; None if it is unknown.
        servers: those that can be the node's.
    """
    if server.cluster != settings.cluster or server.node is None:
        return False
    group = settings.groups.get(settings.nodes.get(server.node, ""))
    if group is None or group.cloud != cloud or Strategy(group.strategy) is not Strategy.DELETE:
        return False
    return server.id != own_id and any(one.id == own_id for one in servers)
