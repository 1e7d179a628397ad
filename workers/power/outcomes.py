"""How each request ends when its node has come as far as it will. Pure."""

from dataclasses import replace

from schemas.commands import Desired, PowerCommand
from schemas.events import Cause, RequestEvent, Transition
from schemas.server import Server
from workers.clouds.servers import node_address
from workers.power import messages
from workers.power.intake import Pending
from workers.power.node import PendingNode
from workers.power.steps import Finish


def outcomes(node: PendingNode, finish: Finish, now: int) -> list[tuple[Pending, RequestEvent]]:
    """The terminal event of each request that waits for the node; `now` in ns since the epoch.

    A request for the opposite of the desired state is superseded: its generation is lower, or it
    would be the desired state. So is a bake by a later one: each names its own image.
    """
    return [(request, _outcome(node, request, finish, now)) for request in node.requests]


def _outcome(node: PendingNode, request: Pending, finish: Finish, now: int) -> RequestEvent:
    agrees = _agrees(node, request.command, request.id)
    transition = finish.transition if agrees else Transition.SUPERSEDED
    cause = finish.cause
    if transition is Transition.SUPERSEDED:
        row = node.row
        cause = Cause("superseded", f"generation {row.generation} wants the node {row.desired}")
    server = finish.server
    is_up = node.row.desired is Desired.UP and not request.dry_run
    return replace(
        messages.about(request, transition, request.history, now),
        cloud=node.group.cloud,
        server_id=server.id if server else node.row.server_id,
        address=node_address(server, node.group) if server and is_up else None,
        image_id=node.image_id if transition is Transition.COMPLETED else None,
        cause=cause,
        actions=tuple(node.actions.get(request.key, ())),
    )


def _agrees(node: PendingNode, command: PowerCommand, request_id: str) -> bool:
    if command.desired is Desired.BAKED:
        return request_id == node.row.request_id
    return command.desired is node.row.desired


def observed_status(finish: Finish) -> str:
    """What the store keeps as the node's observed status."""
    if isinstance(finish.server, Server):
        return finish.server.status
    return finish.cause.error if finish.cause else "NONE"
