"""Defines the kinds of drift, and what is known of a node to find them. Pure."""

import enum
from dataclasses import dataclass

from schemas.commands import Desired
from schemas.server import Server
from schemas.snapshot import Power
from workers.clouds.actions import DELETING, HERE, NEXT_ACTIONS, PASSING, Strategy
from workers.store import tables


class ServerState(enum.StrEnum):
    """The state of a node in its cloud.

    RUNNING: powered on. OUT: powered off as its strategy does it. BETWEEN: changing.
    DELETING: being deleted; until it is gone, it may run.
    LEFT: neither: it costs more than a node that is powered off, and no job can run on it.
    BROKEN: in ERROR. GONE: it has no server. SEVERAL: several servers match.
    UNKNOWN: its cloud was not listed since the snapshot, or the node was acted on since the listing.
    """

    RUNNING = "running"
    OUT = "out"
    BETWEEN = "between"
    DELETING = "deleting"
    LEFT = "left"
    BROKEN = "broken"
    GONE = "gone"
    SEVERAL = "several"
    UNKNOWN = "unknown"


class Drift(enum.StrEnum):
    """How a node differs from what Slurm wants.

    NONE: it does not, or it is about to be as wanted.
    ORPHAN: it runs, and is powered down for Slurm, or Slurm no longer knows it.
    GHOST: its requested state is up, and it is powered down for Slurm.
    DEAD: Slurm relies on it, and it does not run.
    UNASKED: Slurm relies on it, and its requested state is not up: the call of a hook was lost.
    BROKEN: it is in ERROR, and is not needed; or its slurmd answers all the same.
    STUCK: its server is being deleted for longer than its group's stop_timeout.
    AMBIGUOUS: several servers match.
    LEFT_DOWN: it is out of service in Slurm because a boot failed, and was not returned in time.
    SET_ASIDE: an operator has set it down in Slurm, and it does not run.
    NOT_UNDERSTOOD: Slurm does not know it, or shows an unknown state.
    UNSEEN: its cloud has not been listed.
    STRAY: a server with our tags that belongs to no node.
    SURPLUS: a server with a node's tags beside the node's own server.
    """

    NONE = "none"
    ORPHAN = "orphan"
    GHOST = "ghost"
    DEAD = "dead"
    UNASKED = "unasked"
    BROKEN = "broken"
    STUCK = "stuck"
    AMBIGUOUS = "ambiguous"
    LEFT_DOWN = "left_down"
    SET_ASIDE = "set_aside"
    NOT_UNDERSTOOD = "not_understood"
    UNSEEN = "unseen"
    STRAY = tables.STRAY
    SURPLUS = tables.SURPLUS


class RepairStep(enum.StrEnum):
    """What is done about a drift.

    RESUME, SUSPEND: request it.
    DELETE: let the power worker delete a stray or surplus server.
    WAIT: nothing yet: the drift is too recent, or its repair was requested recently.
    REPORT: only notify: an operator must act.
    HELD: nothing: the node is on hold.
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
        power: its state in Slurm; None if Slurm does not know the node, so that no job can run on it.
        desired: the last state requested before the snapshot; None if there was no request.
        seen: its state in its cloud.
        answers: whether its slurmd answers: a job may run on it, whatever its cloud says.
        newer: whether a state was requested since the snapshot.
        busy: whether a request for it is in progress.
        held: whether it is on hold.
        frees: whether its strategy deletes servers, also broken ones.
        left_down: whether it is out of service for a failed boot although it should have returned.
        stop_timeout: of its group, in seconds.
    """

    power: Power | None
    desired: Desired | None
    seen: ServerState
    answers: bool = False
    newer: bool = False
    busy: bool = False
    held: bool = False
    frees: bool = False
    left_down: bool = False
    stop_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class DriftAction:
    """The drift of a node, and what is done about it."""

    drift: Drift
    step: RepairStep


def server_state(servers: tuple[Server, ...], strategy: Strategy) -> ServerState:
    """The state of a node whose servers are these."""
    if not servers:
        return ServerState.GONE
    if len(servers) > 1:
        return ServerState.SEVERAL
    server = servers[0]
    if server.status == "ERROR":
        return ServerState.BROKEN
    if server.task == DELETING:
        return ServerState.DELETING
    if server.task is not None or server.status in PASSING:
        return ServerState.BETWEEN
    on, off = (
        NEXT_ACTIONS[strategy, wanted].get(server.status) for wanted in (Desired.UP, Desired.DOWN)
    )
    if on == HERE:
        return ServerState.RUNNING
    if off == HERE:
        return ServerState.OUT
    return ServerState.UNKNOWN if on is None and off is None else ServerState.LEFT
