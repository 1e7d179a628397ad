"""Pending nodes, and what listings show of their servers, for tests of the power worker's rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from schemas.commands import Kind, PowerCommand
from schemas.events import CloudAction
from schemas.server import NetworkAddress, Server
from tests.testbed.messages import MOMENT, command
from workers.clouds.health import Health
from workers.clouds.servers import ServerView
from workers.config.groups import GroupSettings, ServerTemplate
from workers.power.next_step import CloudSituation
from workers.power.node import DONE, PendingNode
from workers.store.nodes import DesiredRow

if TYPE_CHECKING:
    from workers.power.intake import Pending

CLUSTER = "test"
UP = command(kind=Kind.RESUME, generation=MOMENT)
DOWN = command(kind=Kind.SUSPEND, generation=MOMENT + 10**9)
BAKED = command(kind=Kind.BAKE, generation=MOMENT + 2 * 10**9)
SERVER = Server("id-1", "node1", "ACTIVE", addresses=(NetworkAddress("private", "10.0.0.7"),))
GROUP = GroupSettings(nodes="node[1-9]", cloud="main", boot_timeout=7, stop_timeout=8, boots=2)
TEMPLATE = ServerTemplate(image="image", flavor="flavor")
# Monotonic seconds: when the nodes below were accepted.
ACCEPTED = 100.0


def row(asked: PowerCommand, server_id: str | None = None, **more: Any) -> DesiredRow:  # noqa: ANN401
    """The row that this command has raised, leased by us."""
    values = {"lease_owner": "we", "lease_left": 60.0, **more}
    return DesiredRow(asked.node, asked.desired, asked.generation, asked.id, server_id, **values)


def node(wanted: PowerCommand, *waiting: Pending, **more: Any) -> PendingNode:  # noqa: ANN401
    """The node that this command has raised, accepted at ACCEPTED."""
    made = PendingNode(
        wanted.node, "all", GROUP, row(wanted), ACCEPTED, ACCEPTED, requests=tuple(waiting)
    )
    return replace(made, **more)


def action(
    name: str, *, server: str = "id-1", time: int = MOMENT, result: str = DONE
) -> CloudAction:
    """A call that was answered."""
    return CloudAction(name, server, time, result)


def listed(*servers: Server, at: float, whole: float | None = None) -> ServerView:
    """All servers of a cloud: as of `at`, with the last listing of all of them at `whole`."""
    view = ServerView(CLUSTER)
    whole = at if whole is None else whole
    view.fold(servers, min(whole, at), whole=True)
    if whole != at:
        view.fold([], at, whole=False)
    return view


def cloud(servers: ServerView, *peers: PendingNode, health: Health | None = None) -> CloudSituation:
    """A cloud that is well."""
    return CloudSituation(
        servers, health or Health(), tokens_away=False, oldest=0.0, peers=lambda: list(peers)
    )
