"""Which servers are ours and no node's. Pure."""

from schemas.server import Server
from workers.config.settings import Settings


def is_stray(settings: Settings, cloud: str, server: Server) -> bool:
    """Whether a server bears our tags, and its node is in no group of that cloud."""
    if server.cluster != settings.cluster or server.node is None:
        return False
    group = settings.nodes.get(server.node)
    return group is None or settings.groups[group].cloud != cloud
