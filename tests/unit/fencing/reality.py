"""The worker's own pure functions, called by the model: each turns an abstract worker into a real node.

A node's times shrink to two facts: whether its listing is fresh, and whether any listing can be fresh
before a call without an answer has had its time.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from schemas.commands import Desired, Kind, PowerCommand
from schemas.events import Cause, CloudAction, Transition
from schemas.server import Server
from schemas.snapshot import Power
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.unit.fencing.state import Worker
from workers.broker.delivery import DeliveryHistory
from workers.clouds.actions import REBOOT, START, STOP
from workers.clouds.decide import Act
from workers.clouds.errors import CloudError, NotWantedError, classify
from workers.clouds.health import Health
from workers.clouds.servers import ServerView
from workers.config.groups import GroupSettings
from workers.power.admit import FIRST_TIER, admit
from workers.power.calls import Guard
from workers.power.messages import outcomes
from workers.power.next_step import CloudSituation, learn_answer, next_step
from workers.power.node import (
    DONE,
    LOOKING,
    Calling,
    Decided,
    Judging,
    PendingNode,
    joined,
    moved,
)
from workers.power.steps import Finish, ParkNode
from workers.store.generations import ClockLimit
from workers.store.nodes import DesiredRow
from workers.store.power_store import PowerStore
from workers.store.slurm_view import SlurmView, SnapshotReader

if TYPE_CHECKING:
    from tests.unit.fencing.store import Ask
    from workers.power.admit import Admission
    from workers.power.intake import Pending
    from workers.power.node import Phase
    from workers.power.steps import Step

BOOTS = 3
API_TIMEOUT = 20.0
_GROUP = GroupSettings(nodes="node1", cloud="main", boots=BOOTS)
_KINDS = {Desired.UP: Kind.RESUME, Desired.DOWN: Kind.SUSPEND}
# Monotonic seconds: the present, and when a fresh and an older listing were requested.
_NOW, _FRESH, _OLD = 100.0, 99.0, 90.0
# ns since the epoch, in a future that no test sees
_NEVER = 2**62
_LOST = CloudError(None, "reset by peer")
_UNCONFIRMED = Cause("unconfirmed", "no newer snapshot of Slurm")
_PHASES: dict[str, Phase] = {
    "judging": Judging(classify(_LOST).cause, Act(START, "id-1")),
    "decided": Decided(ParkNode(_UNCONFIRMED, FIRST_TIER)),
}
_CONFLICT = CloudError(409, "the server is not as expected")


@cache
def requests(asks: tuple[Ask, ...]) -> tuple[Pending, ...]:
    """The real requests."""
    return tuple(pending(_command(ask), DeliveryHistory(round=ask.round)) for ask in asks)


def _command(ask: Ask) -> PowerCommand:
    kind = Kind.RESUME_FAIL if ask.kind == "resume_fail" else _KINDS[ask.want]
    asked = command(kind=kind, generation=MOMENT + ask.generation * 10**9)
    asked = replace(asked, repair=ask.kind == "repair")
    if asked.kind is Kind.RESUME:  # boots that Slurm no longer waits for are not modelled
        asked = replace(asked, expiry=_NEVER)
    return asked if ask.is_slurms else replace(asked, expiry=None)


@cache
def row(
    asks: tuple[Ask, ...], generation: int, *, boot_due: bool = False, unsettled: bool = False
) -> DesiredRow:
    """The real row of this generation."""
    asked = next(_command(ask) for ask in asks if ask.generation == generation)
    return DesiredRow(
        asked.node,
        asked.desired,
        asked.generation,
        asked.id,
        None,
        "we",
        lease_left=60.0,
        unsettled_left=API_TIMEOUT if unsettled else 0.0,
        boot_from=1 if boot_due else 0,
    )


@cache
def _node(
    asks: tuple[Ask, ...],
    worker: Worker,
    held: tuple[int, ...],
    made: tuple[int, ...],
) -> PendingNode:
    wanted = row(asks, worker.generation, boot_due=worker.boot_due)
    waiting = tuple(requests(asks)[i] for i in held)
    node = PendingNode("node1", "all", _GROUP, wanted, _OLD + 1, _OLD, requests=waiting)
    action = START if wanted.desired is Desired.UP else STOP
    done = {
        requests(asks)[i].key: (CloudAction(action, "id-1", MOMENT, DONE),) * count
        for i, count in enumerate(made)
        if count
    }
    return replace(
        node,
        fresh_after=_NOW + 1 if worker.waits else node.fresh_after,
        called=worker.called,
        actions=done,
        phase=_PHASES.get(worker.phase, LOOKING),
    )


def _worker(worker: Worker, node: PendingNode, generation: int) -> Worker:
    """The abstract worker with what has become of its node."""
    as_of = _FRESH if worker.fresh else _OLD
    phase = next((name for name, phase in _PHASES.items() if phase == node.phase), "looking")
    return worker._replace(
        generation=generation,
        boot_due=node.row.boot_due,
        fresh=as_of > node.fresh_after,
        waits=node.fresh_after > _NOW,
        called=node.called,
        phase=phase,
    )


def _during_call(before: Worker, after: Worker) -> Worker:
    """A call under way stays under way, whatever else happens."""
    return after if before.is_idle else after._replace(phase=before.phase)


@cache
def step(
    asks: tuple[Ask, ...], worker: Worker, held: tuple[int, ...], made: tuple[int, ...]
) -> Step:
    """What the worker does next about its node."""
    node = _node(asks, worker, held, made)
    view = ServerView("test")
    if worker.view is not None:
        server = Server("id-1", "node1", worker.view.status, worker.view.task)
        view.fold([server], _FRESH if worker.fresh else _OLD, whole=True)
    health = Health().call_failed("node1", _OLD).call_answered("node2", _OLD + 1)
    oldest = 1.0 if worker.view is not None else _NOW
    cloud = CloudSituation(view, health, tokens_away=False, oldest=oldest, peers=list)
    return next_step(node, cloud, None, registered=False, now=_NOW)


@cache
def number(asks: tuple[Ask, ...], worker: Worker, held: tuple[int, ...]) -> int:
    """The position of the request for which calls are made."""
    key = _node(asks, worker, held, (0,) * len(asks)).key
    return [request.key for request in requests(asks)].index(key)


@cache
def join(  # noqa: PLR0913 - what acceptance found out
    asks: tuple[Ask, ...],
    worker: Worker,
    held: tuple[int, ...],
    request: int,
    generation: int,
    *,
    boot_due: bool,
    unsettled: bool,
) -> Worker:
    """The worker after it has taken another request."""
    if worker.generation == 0:
        worker = Worker(generation=generation, boot_due=boot_due, view=worker.view)
    now = row(asks, generation, boot_due=boot_due, unsettled=unsettled)
    node = _node(asks, worker, held, (0,) * len(asks))
    after = joined(node, requests(asks)[request], now, {}, {}, _NOW)
    return _during_call(worker, _worker(worker, after, generation))


@cache
def move(  # noqa: PLR0913 - what the row says
    asks: tuple[Ask, ...],
    worker: Worker,
    held: tuple[int, ...],
    generation: int,
    *,
    boot_due: bool,
    unsettled: bool,
) -> Worker:
    """The worker after it has read its node's row again."""
    now = row(asks, generation, boot_due=boot_due, unsettled=unsettled)
    after = moved(_node(asks, worker, held, (0,) * len(asks)), now, _NOW)
    return _during_call(worker, _worker(worker, after, generation))


@cache
def learn(asks: tuple[Ask, ...], worker: Worker, held: tuple[int, ...], answer: str) -> Worker:
    """The worker after the answer to its call.

    Args:
        asks: the requests.
        worker: the worker.
        held: the requests that wait with it.
        answer: done, conflict, lost; or, by the guard, refused or waits.
    """
    assert worker.call is not None
    action, for_request = worker.call
    answers: dict[str, str | Exception] = {
        "done": "id-1",
        "conflict": _CONFLICT,
        "lost": _LOST,
        "refused": NotWantedError("moved on"),
        "waits": NotWantedError(_UNCONFIRMED.message, _UNCONFIRMED.error),
    }
    answered = answers[answer]
    verdict = classify(answered) if isinstance(answered, CloudError) else None
    ask = asks[for_request]
    call = Calling(
        Act(action, "id-1"),
        row(asks, ask.generation, boot_due=worker.boot_due),
        requests(asks)[for_request].key,
        _OLD,
    )
    node = replace(_node(asks, worker, held, (0,) * len(asks)), phase=call)
    settles = API_TIMEOUT if answer == "lost" else 0.0
    after = learn_answer(node, call, answered, verdict, now=_NOW, time_ns=MOMENT, settles=settles)
    return _worker(worker, after, worker.generation)._replace(call=None, done=False)


class _Rows(PowerStore):
    def __init__(self, row: DesiredRow) -> None:
        self.owner = "we"
        self._row = row

    def read_one(self, node: str) -> DesiredRow:
        assert node == self._row.node
        return self._row


class _Snapshots(SnapshotReader):
    def __init__(self, slurm: str) -> None:
        self._slurm = slurm

    def view(self) -> SlurmView | None:
        return _slurm_view(self._slurm)


def _slurm_view(slurm: str) -> SlurmView | None:
    if slurm == "none":
        return None
    generation = 1 if slurm == "old" else MOMENT + 100 * 10**9
    power = Power.POWERING_UP if slurm == "on" else Power.POWERING_DOWN
    return SlurmView(generation, {"node1": power}, confirmed=True)


@cache
def admission(asks: tuple[Ask, ...], request: int, slurm: str, *, late: bool) -> Admission:
    """What becomes of a request that comes."""
    now = MOMENT + (3000 if late else 100) * 10**9
    nodes = {"node1": "all"}
    return admit(requests(asks)[request], nodes, _slurm_view(slurm), ClockLimit(now), now)


@cache
def guarded(  # noqa: PLR0913 - all that the guard reads
    asks: tuple[Ask, ...],
    wanted: int,
    generation: int,
    action: str,
    *,
    ours: bool,
    live: bool,
    held: bool,
    slurm: str = "none",
    late: bool = False,
    off_asked: int = 0,
    present: bool = True,
) -> str:
    """The guard's verdict on a call that was decided by the generation `wanted`.

    Returns:
        passed, refused, or waits (for a newer snapshot of Slurm).
    """
    now = replace(
        row(asks, generation),
        lease_owner="we" if ours else "another",
        lease_left=60.0 if live else -1.0,
        held="disk swap" if held else None,
        off_asked=MOMENT + off_asked * 10**9 if off_asked else 0,
    )
    decided = row(asks, wanted)
    asked = next(_command(ask) for ask in asks if ask.generation == wanted)
    if asked.kind is Kind.SUSPEND and asked.expiry is not None:
        asked = replace(asked, expiry=1 if late else _NEVER)
    request = pending(asked, since=time.monotonic()) if present else None
    guard = Guard(
        _Rows(now), _Snapshots(slurm), API_TIMEOUT, decided, request, is_reboot=action == REBOOT
    )
    try:
        guard()
    except NotWantedError as error:
        return "waits" if error.waits is not None else "refused"
    return "passed"


@cache
def outcome(
    asks: tuple[Ask, ...], generation: int, held: tuple[int, ...], transition: Transition
) -> tuple[tuple[int, str], ...]:
    """How each waiting request ends when the node ends so, its row having this generation."""
    node = _node(asks, Worker(generation=generation), held, (0,) * len(asks))
    events = outcomes(node, Finish(transition, None, None), MOMENT)
    return tuple((i, str(told.transition)) for i, told in zip(held, events, strict=True))
