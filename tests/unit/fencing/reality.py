"""The worker's own code, asked by the model: what it decides, and how requests end."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from workers.power.node_work import DONE, Work

from schemas.commands import Desired, Kind
from schemas.events import CloudAction, Transition
from schemas.server import Server
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from workers.clouds.actions import START, STOP
from workers.clouds.servers import ServerView
from workers.config.groups import GroupSettings
from workers.power.decide import Decision, Wait, decide
from workers.power.desired_state import DesiredRow

if TYPE_CHECKING:
    from tests.unit.fencing.state import Shown

Wants = tuple[Desired, Desired]
BOOTS = 3
_GROUP = GroupSettings(nodes="node1", cloud="main", boots=BOOTS)
_KINDS = {Desired.UP: Kind.RESUME, Desired.DOWN: Kind.SUSPEND}


@cache
def _work(wants: Wants, generation: int) -> Work:
    """A work whose row has this generation, and for which both requests wait."""
    asked = [
        command(kind=_KINDS[want], generation=MOMENT + number * 10**9)
        for number, want in enumerate(wants, 1)
    ]
    wanted = asked[generation - 1]
    row = DesiredRow("node1", wanted.desired, wanted.generation, wanted.id, None, "we", 60.0)
    work = Work("node1", "all", _GROUP, row, began=MOMENT, look_after=10.0)
    work.pending = [pending(one) for one in asked]
    return work


@cache
def decision(  # noqa: PLR0913 - all that a decision depends on
    wants: Wants, generation: int, shown: Shown | None, *, settles: bool, called: bool, made: int
) -> Decision:
    """What the worker decides.

    Args:
        wants: what the first request wants, and what the second.
        generation: of the work's row.
        shown: what its last listing showed, if there was one.
        settles: whether that was requested after what the work must wait for.
        called: whether the work has had an answer.
        made: calls of the wanted kind that were taken.
    """
    if shown is None:
        return Wait()
    work = _work(wants, generation)
    work.called, work.actions = called, {}
    action = START if work.row.desired is Desired.UP else STOP
    for _ in range(made):
        work.record(work.key, CloudAction(action, "id-1", MOMENT, DONE))
    view = ServerView("test")
    server = Server("id-1", "node1", shown.status, shown.task)
    view.fold([server], 11.0 if settles else 9.0, whole=True)
    sight = work.sight(view, MOMENT, oldest=0.0)
    return Wait() if sight is None else decide(work.row.desired, sight, work.limits)


@cache
def outcome(wants: Wants, generation: int, request: int, transition: Transition) -> str:
    """How a request ends when the node ends so, its row having this generation."""
    events = _work(wants, generation).events(transition, None, None, MOMENT)
    return str(events[request][1].transition)
