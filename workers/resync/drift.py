"""The decision: what to do about a node, by Slurm's view, by what is wanted and by what is seen. Pure.

Slurm's view was stamped before Slurm was read, and the cloud was listed after that. What is asked
for carries the snapshot's generation, so that anything a hook has asked since wins over it.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from schemas.commands import Desired
from schemas.server import Server
from schemas.snapshot import Power
from workers.clouds.actions import HERE, PASSING, Strategy, next_actions
from workers.store import tables


class ServerState(enum.StrEnum):
    """A node in its cloud.

    RUNNING: lit. OUT: put out, as its strategy puts nodes out. BETWEEN: on its way.
    LEFT: neither: it costs more than when it is out, and no job can run there.
    BROKEN: in ERROR. GONE: it has no server. SEVERAL: several servers could be it.
    UNKNOWN: its cloud was not listed since the snapshot, or something was done since.
    """

    RUNNING = "running"
    OUT = "out"
    BETWEEN = "between"
    LEFT = "left"
    BROKEN = "broken"
    GONE = "gone"
    SEVERAL = "several"
    UNKNOWN = "unknown"


class Drift(enum.StrEnum):
    """How a node is not as Slurm wants it.

    NONE: it is, or it is about to be.
    ORPHAN: it burns, and Slurm holds it to be powered down.
    GHOST: we want it up, and Slurm holds it to be powered down.
    DEAD: Slurm counts on it, and it does not run.
    UNASKED: Slurm counts on it, and we do not want it up: a call of a hook was lost.
    BROKEN: it is in ERROR, and nobody wants it up.
    AMBIGUOUS: several servers could be it.
    SET_ASIDE: a person has set it down in Slurm, and it does not run.
    NOT_UNDERSTOOD: Slurm does not know it, or says what we do not understand.
    UNSEEN: its cloud has not shown what it has.
    STRAY: a server with our tags that is no node's.
    """

    NONE = "none"
    ORPHAN = "orphan"
    GHOST = "ghost"
    DEAD = "dead"
    UNASKED = "unasked"
    BROKEN = "broken"
    AMBIGUOUS = "ambiguous"
    SET_ASIDE = "set_aside"
    NOT_UNDERSTOOD = "not_understood"
    UNSEEN = "unseen"
    STRAY = tables.STRAY


class RepairStep(enum.StrEnum):
    """What is done about it.

    RESUME, SUSPEND: ask for it.
    DELETE: let the power worker delete a stray.
    WAIT: nothing yet: it differs too briefly, or was asked for lately.
    REPORT: only say so: a person must see to it.
    HELD: nothing: somebody is at the node.
    NOTHING: there is nothing to do.
    """

    RESUME = "resume"
    SUSPEND = "suspend"
    DELETE = "delete"
    WAIT = "wait"
    REPORT = "report"
    HELD = "held"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class ComparedNode:
    """All that is known of a node.

    Attributes:
        power: what Slurm says.
        desired: what was asked last, before the snapshot; None where nothing was.
        seen: what its cloud shows.
        newer: whether something was asked of it since the snapshot was stamped.
        busy: whether a request for it is under way.
        held: whether somebody keeps everybody off it.
        frees: whether its strategy deletes servers, also broken ones.
    """

    power: Power
    desired: Desired | None
    seen: ServerState
    newer: bool = False
    busy: bool = False
    held: bool = False
    frees: bool = False


@dataclass(frozen=True, slots=True)
class DriftPast:
    """What is remembered of a node that differs in this way.

    Attributes:
        seconds: since it was first seen to.
        asked: how often its repair was asked for.
        asked_seconds: since when last.
    """

    seconds: float = 0.0
    asked: int = 0
    asked_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Patience:
    """What a site has chosen; seconds. As settings.ResyncSettings."""

    grace: float
    repeat_after: float
    delete_strays: bool = False


@dataclass(frozen=True, slots=True)
class DriftAction:
    """What is wrong with a node, and what is done about it."""

    drift: Drift
    step: RepairStep


_LONGEST_REPEAT = 3600.0
# What operators have wanted out; DOWN is Slurm's own word.
_PUT_OUT = frozenset({Desired.READY, Desired.BAKED, Desired.GONE})
_FINE = DriftAction(Drift.NONE, RepairStep.NOTHING)
_Rules: TypeAlias = Mapping[ServerState, DriftAction]

_AMBIGUOUS = {
    ServerState.BETWEEN: _FINE,
    ServerState.SEVERAL: DriftAction(Drift.AMBIGUOUS, RepairStep.REPORT),
    ServerState.UNKNOWN: DriftAction(Drift.UNSEEN, RepairStep.NOTHING),
}
_DEAD: _Rules = {
    **_AMBIGUOUS,
    **dict.fromkeys(
        (ServerState.OUT, ServerState.LEFT, ServerState.BROKEN, ServerState.GONE),
        DriftAction(Drift.DEAD, RepairStep.RESUME),
    ),
    ServerState.RUNNING: _FINE,
}
_UNASKED: _Rules = {
    **dict.fromkeys(ServerState, DriftAction(Drift.UNASKED, RepairStep.RESUME)),
    **_AMBIGUOUS,
}
_GHOST: _Rules = {
    **dict.fromkeys(ServerState, DriftAction(Drift.GHOST, RepairStep.SUSPEND)),
    **_AMBIGUOUS,
    ServerState.BROKEN: DriftAction(Drift.BROKEN, RepairStep.REPORT),
}
_ORPHAN: _Rules = {
    **_AMBIGUOUS,
    **dict.fromkeys(
        (ServerState.RUNNING, ServerState.LEFT), DriftAction(Drift.ORPHAN, RepairStep.SUSPEND)
    ),
    **dict.fromkeys((ServerState.OUT, ServerState.GONE), _FINE),
    ServerState.BROKEN: DriftAction(Drift.BROKEN, RepairStep.REPORT),
}
_SET_ASIDE: _Rules = {
    **dict.fromkeys(ServerState, DriftAction(Drift.SET_ASIDE, RepairStep.REPORT)),
    **_AMBIGUOUS,
    ServerState.RUNNING: _FINE,
}
_NOT_UNDERSTOOD: _Rules = dict.fromkeys(
    ServerState, DriftAction(Drift.NOT_UNDERSTOOD, RepairStep.REPORT)
)
_UNTOUCHED: _Rules = dict.fromkeys(ServerState, _FINE)

# By Slurm's view, and by whether we want it up.
TABLE: Mapping[tuple[Power, bool], _Rules] = {
    (Power.LIT, True): _DEAD,
    (Power.LIT, False): _UNASKED,
    (Power.COMING, True): _DEAD,
    (Power.COMING, False): _UNASKED,
    (Power.OUT, True): _GHOST,
    (Power.OUT, False): _ORPHAN,
    # SuspendTimeout, or the next call of a hook, soon makes them something else
    (Power.GOING, True): _UNTOUCHED,
    (Power.GOING, False): _UNTOUCHED,
    (Power.BETWEEN, True): _UNTOUCHED,
    (Power.BETWEEN, False): _UNTOUCHED,
    (Power.ASIDE, True): _SET_ASIDE,
    (Power.ASIDE, False): _SET_ASIDE,
    (Power.UNKNOWN, True): _NOT_UNDERSTOOD,
    (Power.UNKNOWN, False): _NOT_UNDERSTOOD,
}


def find_drift(node: ComparedNode) -> DriftAction:
    """What is wrong with a node, and what would be done about it if it were so for long."""
    if node.newer or node.busy:
        return _FINE
    found = TABLE[node.power, node.desired is Desired.UP][node.seen]
    if found.drift is Drift.BROKEN and node.frees:
        found = DriftAction(Drift.BROKEN, RepairStep.SUSPEND)
    if (
        found.drift is Drift.ORPHAN
        and node.seen is ServerState.LEFT
        and node.desired is not Desired.DOWN
    ):
        return _FINE  # it does not run; an operator has left it so, or nobody has asked for it yet
    if (
        found.drift is Drift.UNASKED
        and node.desired in _PUT_OUT
        and node.seen is not ServerState.RUNNING
    ):
        # an operator's word, of which Slurm knows nothing: perhaps the next is on its way
        found = DriftAction(Drift.UNASKED, RepairStep.REPORT)
    if node.held and found.drift is not Drift.NONE:
        return DriftAction(found.drift, RepairStep.HELD)
    return found


def decide_drift(node: ComparedNode, past: DriftPast, patience: Patience) -> DriftAction:
    """What is wrong with a node, and what is done about it now."""
    found = find_drift(node)
    if found.step not in {RepairStep.RESUME, RepairStep.SUSPEND}:
        return found
    # what Slurm counts on is repaired at once; what burns, or may be on its way, has its grace
    at_once = found.drift is Drift.DEAD and node.power is Power.LIT
    wait = 0.0 if at_once else patience.grace
    if past.asked:
        wait = min(patience.repeat_after * 2.0 ** min(past.asked - 1, 20), _LONGEST_REPEAT)
        return found if past.asked_seconds >= wait else DriftAction(found.drift, RepairStep.WAIT)
    return found if past.seconds >= wait else DriftAction(found.drift, RepairStep.WAIT)


def decide_stray(past: DriftPast, patience: Patience) -> DriftAction:
    """What is done about a server with our tags that is no node's."""
    condemned = patience.delete_strays and past.seconds >= patience.grace
    return DriftAction(Drift.STRAY, RepairStep.DELETE if condemned else RepairStep.REPORT)


def seen_as(servers: tuple[Server, ...], strategy: Strategy) -> ServerState:
    """What a node's servers amount to."""
    if not servers:
        return ServerState.GONE
    if len(servers) > 1:
        return ServerState.SEVERAL
    server = servers[0]
    if server.status == "ERROR":
        return ServerState.BROKEN
    if server.task is not None or server.status in PASSING:
        return ServerState.BETWEEN
    lit, out = (
        next_actions(strategy, wanted).get(server.status) for wanted in (Desired.UP, Desired.DOWN)
    )
    if lit == HERE:
        return ServerState.RUNNING
    if out == HERE:
        return ServerState.OUT
    return ServerState.UNKNOWN if lit is None and out is None else ServerState.LEFT
