"""Decides what to do about a node, from its state in Slurm, in the requests and in its cloud. Pure.

The snapshot gets its generation before Slurm is queried, and the clouds are listed after that. A repair
request carries the generation of the snapshot, so that later requests of hooks take precedence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from schemas.commands import Desired
from schemas.snapshot import Power
from workers.config.tables import ResyncSettings
from workers.process.doubling import doubled
from workers.resync.drift import ComparedNode, Drift, DriftAction, RepairStep, ServerState

_LONGEST_REPEAT = 3600.0


@dataclass(frozen=True, slots=True)
class DriftPast:
    """The history of a drift.

    Attributes:
        seconds: since it was found first.
        repairs: how many repairs were requested.
        repair_seconds: since the last repair request.
    """

    seconds: float = 0.0
    repairs: int = 0
    repair_seconds: float = 0.0


# States that operators request for a powered-off node; Slurm itself requests DOWN.
_OFF_FOR_OPERATORS = frozenset({Desired.READY, Desired.BAKED, Desired.GONE})
_FINE = DriftAction(Drift.NONE, RepairStep.NOTHING)
_BROKEN = DriftAction(Drift.BROKEN, RepairStep.REPORT)
_UNLISTED = DriftAction(Drift.DEAD, RepairStep.REPORT)
_REPORTED = DriftAction(Drift.NOT_UNDERSTOOD, RepairStep.REPORT)
_STUCK = DriftAction(Drift.STUCK, RepairStep.SUSPEND)
_Rules: TypeAlias = Mapping[ServerState, DriftAction]


def _all(drift: Drift, step: RepairStep) -> _Rules:
    return dict.fromkeys(ServerState, DriftAction(drift, step))


_UNCLEAR: _Rules = {
    ServerState.BETWEEN: _FINE,
    ServerState.DELETING: DriftAction(Drift.STUCK, RepairStep.REPORT),
    ServerState.SEVERAL: DriftAction(Drift.AMBIGUOUS, RepairStep.REPORT),
    ServerState.UNKNOWN: DriftAction(Drift.UNSEEN, RepairStep.NOTHING),
}
_DEAD: _Rules = {
    **_all(Drift.DEAD, RepairStep.RESUME),
    **_UNCLEAR,
    ServerState.RUNNING: _FINE,
}
_UNASKED: _Rules = {**_all(Drift.UNASKED, RepairStep.RESUME), **_UNCLEAR}
_GHOST: _Rules = {
    **_all(Drift.GHOST, RepairStep.SUSPEND),
    **_UNCLEAR,
    ServerState.DELETING: _STUCK,
    ServerState.BROKEN: _BROKEN,
}
_ORPHAN: _Rules = {
    **_all(Drift.ORPHAN, RepairStep.SUSPEND),
    **_UNCLEAR,
    ServerState.DELETING: _STUCK,
    **dict.fromkeys((ServerState.OUT, ServerState.GONE), _FINE),
    ServerState.BROKEN: _BROKEN,
}
_SET_ASIDE: _Rules = {
    **_all(Drift.SET_ASIDE, RepairStep.REPORT),
    **_UNCLEAR,
    ServerState.RUNNING: _FINE,
}
_NOT_UNDERSTOOD = _all(Drift.NOT_UNDERSTOOD, RepairStep.REPORT)
_FORGOTTEN: _Rules = {
    **_NOT_UNDERSTOOD,
    **dict.fromkeys(
        (ServerState.RUNNING, ServerState.LEFT), DriftAction(Drift.ORPHAN, RepairStep.SUSPEND)
    ),
    ServerState.DELETING: _STUCK,
    ServerState.SEVERAL: DriftAction(Drift.AMBIGUOUS, RepairStep.REPORT),
}
_UNTOUCHED = dict.fromkeys(ServerState, _FINE)

# By the node's state in Slurm (None: Slurm does not know it), and whether its requested state is up.
TABLE: Mapping[tuple[Power | None, bool], _Rules] = {
    (Power.ON, True): _DEAD,
    (Power.ON, False): _UNASKED,
    (Power.POWERING_UP, True): _DEAD,
    (Power.POWERING_UP, False): _UNASKED,
    (Power.OFF, True): _GHOST,
    (Power.OFF, False): _ORPHAN,
    # SuspendTimeout, or the next call of a hook, soon changes these
    (Power.POWERING_DOWN, True): _UNTOUCHED,
    (Power.POWERING_DOWN, False): _UNTOUCHED,
    (Power.CHANGING, True): _UNTOUCHED,
    (Power.CHANGING, False): _UNTOUCHED,
    (Power.SET_DOWN, True): _SET_ASIDE,
    (Power.SET_DOWN, False): _SET_ASIDE,
    (Power.UNKNOWN, True): _NOT_UNDERSTOOD,
    (Power.UNKNOWN, False): _NOT_UNDERSTOOD,
    (None, True): _FORGOTTEN,
    (None, False): _FORGOTTEN,
}


def find_drift(node: ComparedNode) -> DriftAction:
    """The drift of a node, and what to do if it lasts."""
    if node.newer or node.busy:
        return _FINE
    found = TABLE[node.power, node.desired is Desired.UP][node.seen]
    if found.drift is Drift.ORPHAN and node.power is None and not _is_slurms(node):
        found = _REPORTED
    if found == _STUCK and not node.frees:
        # only a request that deletes ends it
        found = DriftAction(Drift.STUCK, RepairStep.REPORT)
    if found.drift is Drift.BROKEN and node.frees:
        found = DriftAction(Drift.BROKEN, RepairStep.SUSPEND)
    if node.answers and found.step is RepairStep.RESUME:
        found = _if_it_answers(node, found)
    if (
        found.drift is Drift.ORPHAN
        and node.seen is ServerState.LEFT
        and node.desired is not Desired.DOWN
    ):
        found = _FINE  # it does not run; an operator left it so, or no request ever concerned it
    if (
        found.drift is Drift.UNASKED
        and node.desired in _OFF_FOR_OPERATORS
        and node.seen is not ServerState.RUNNING
    ):
        # an operator requested it, and Slurm does not know; the next request may be on its way
        found = DriftAction(Drift.UNASKED, RepairStep.REPORT)
    if node.left_down and found.drift in {Drift.NONE, Drift.UNSEEN}:
        found = DriftAction(Drift.LEFT_DOWN, RepairStep.REPORT)
    if node.held and found.drift is not Drift.NONE:
        return DriftAction(found.drift, RepairStep.HELD)
    return found


def _if_it_answers(node: ComparedNode, found: DriftAction) -> DriftAction:
    """A job may run on a node whose slurmd answers, whatever its cloud shows."""
    if node.seen is ServerState.BROKEN:
        # Nova's ERROR can be that of an operation beside the server
        return _BROKEN
    if node.seen is ServerState.GONE and node.desired not in _OFF_FOR_OPERATORS:
        # it is in a cell that is down, or on the cloud that its group has left: a second server would
        # end its jobs
        return _UNLISTED
    return found


def _is_slurms(node: ComparedNode) -> bool:
    """Whether Slurm's requests decided the node's state last, and it is not merely powered off.

    An operator may prepare a node before it is added to slurm.conf.
    """
    if node.seen is ServerState.LEFT:
        return node.desired is Desired.DOWN
    return node.desired in {Desired.UP, Desired.DOWN}


def decide_drift(node: ComparedNode, past: DriftPast, settings: ResyncSettings) -> DriftAction:
    """The drift of a node, and what to do now."""
    found = find_drift(node)
    # the slurm worker may be about to return it, or to receive the end of a resume-fail
    if found == DriftAction(Drift.LEFT_DOWN, RepairStep.REPORT) and past.seconds < settings.grace:
        return DriftAction(Drift.LEFT_DOWN, RepairStep.WAIT)
    if found.drift is Drift.STUCK and past.seconds <= node.stop_timeout:
        return DriftAction(Drift.STUCK, RepairStep.WAIT)
    if found.step not in {RepairStep.RESUME, RepairStep.SUSPEND}:
        return found
    if past.repairs:
        wait = doubled(settings.repeat_after, past.repairs, _LONGEST_REPEAT)
        due = past.repair_seconds >= wait
    else:
        # a node that Slurm relies on is repaired at once; one that runs, or may change, has its grace
        at_once = found.drift is Drift.DEAD and node.power is Power.ON
        due = at_once or past.seconds >= settings.grace
    return found if due else DriftAction(found.drift, RepairStep.WAIT)


def decide_stray(drift: Drift, past: DriftPast, settings: ResyncSettings) -> DriftAction:
    """What to do about a server with our tags that is not the server of a node."""
    delete = settings.delete_strays and past.seconds >= settings.grace
    return DriftAction(drift, RepairStep.DELETE if delete else RepairStep.REPORT)
