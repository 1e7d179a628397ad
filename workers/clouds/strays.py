"""Which servers are ours but not the server of a node, and on which a job can be. Pure."""

from collections.abc import Iterable, Mapping

from schemas.server import Server
from workers.clouds.actions import DELETING, NO_JOB, Strategy
from workers.clouds.servers import ServerView
from workers.config.settings import Settings


def may_have_job(server: Server) -> bool:
    """Whether a job can be on a server that bears a node's name."""
    return server.status not in NO_JOB and server.task != DELETING


def best_first(servers: Iterable[Server], own_id: str | None) -> list[Server]:
    """The one to keep first: a job can be on it; it is the node's own; it runs; the first by id."""
    return sorted(
        servers,
        key=lambda s: (
            not may_have_job(s),
            s.task == DELETING or s.status == "ERROR",
            s.id != own_id,
            s.status != "ACTIVE",
            s.id,
        ),
    )


def is_stray(
    settings: Settings, cloud: str, server: Server, views: Mapping[str, ServerView]
) -> bool:
    """Whether a server bears our tags, and its node is in no group of that cloud.

    Two clouds of lamplighter.toml can be one project: what the node's own cloud lists too is its own.
    `views` are the clouds that are known.
    """
    if server.cluster != settings.cluster or server.node is None:
        return False
    home = cloud_of(settings, server)
    if home is None:
        return True
    return home != cloud and not (home in views and views[home].lists(server.id))


def cloud_of(settings: Settings, server: Server) -> str | None:
    """The cloud of the node whose tags a server bears; None if the node is in no group."""
    group = settings.nodes.get(server.node or "")
    return None if group is None else settings.groups[group].cloud


def is_surplus(
    settings: Settings, cloud: str, server: Server, own_id: str | None, servers: Iterable[Server]
) -> bool:
    """Whether a server bears a node's tags beside the node's own server, and may be deleted.

    `own_id` is of the server that was acted on last for the node, and `servers` can be the node's.
    """
    if server.cluster != settings.cluster or server.node is None:
        return False
    group = settings.groups.get(settings.nodes.get(server.node, ""))
    if group is None or group.cloud != cloud or Strategy(group.strategy) is not Strategy.DELETE:
        return False
    return server.id != own_id and any(one.id == own_id for one in servers)
