"""The decision table: what to do about one node, given what is wanted and what was listed. Pure.

Nova's behaviour behind it: a failed power-on falls back to SHUTOFF without ERROR, and a failed unshelve
to SHELVED_OFFLOADED, so the old state without a task after a call is a failure; a server that finds no
host exists, in ERROR; a call in a state that does not allow it gets 409.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from schemas.commands import Desired
from schemas.events import Cause
from schemas.server import Server
from workers.clouds.actions import (
    BAKE,
    CREATE,
    DELETE,
    DELETING,
    FIND_IMAGE,
    HERE,
    PASSING,
    REBOOT,
    START,
    STOP,
    TAG,
    UNSHELVE,
    Strategy,
    next_actions,
)
from workers.clouds.errors import cause_in
from workers.power.node_view import Limits, NodeView

# The error classes of failed actions; the others share one.
_FAILURES = {
    START: "power_on_failed",
    STOP: "power_off_failed",
    UNSHELVE: "unshelve_failed",
    TAG: "adopt_failed",
}
# What makes a guest boot.
BOOTS = frozenset({START, CREATE, UNSHELVE, REBOOT})


@dataclass(frozen=True, slots=True)
class Settled:
    """The node is as wanted; `server` is None where it has none."""

    server: Server | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Decide again after another listing; with `patience`, not before so many seconds of waiting."""

    patience: float | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Make this call; `server_id` is empty for `create`.

    `because` is what is wrong with a server that is deleted for it. `for_slurm` marks the reboot of a
    server that runs, because slurmctld waits for a boot.
    """

    action: str
    server_id: str
    because: Cause | None = None
    for_slurm: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Fail:
    """The round cannot succeed."""

    cause: Cause


Decision: TypeAlias = Settled | Wait | Act | Fail


def decide(desired: Desired, view: NodeView, limits: Limits) -> Decision:
    """What to do about a node now."""
    if not view.servers:
        return _without_server(desired, view, limits)
    server, *surplus = _best_first(view)
    if surplus:
        return _with_surplus(desired, view, limits, surplus)
    action = _actions(desired, view, limits).get(server.status)
    needed = desired in {Desired.UP, Desired.READY}
    creates_again = needed and limits.strategy is Strategy.DELETE and server.id in view.ours
    if action == DELETE or (server.task == DELETING and creates_again):
        return _replace(desired, view, limits, server)
    if desired is Desired.ADOPTED:
        return _adopt(view, limits, server)
    if server.task is not None or server.status in PASSING:
        return _in_transition(desired, view, limits, server)
    return _at_rest(desired, view, limits, server, action)


def _actions(desired: Desired, view: NodeView, limits: Limits) -> Mapping[str, str]:
    """The table that applies; a node whose image is ready is powered off, but never deleted."""
    if desired is not Desired.BAKED or view.image_id is None:
        return next_actions(limits.strategy, desired)
    shelved = limits.strategy is Strategy.SHELVE
    return next_actions(Strategy.SHELVE if shelved else Strategy.STOP, Desired.DOWN)


def _at_rest(
    desired: Desired, view: NodeView, limits: Limits, server: Server, action: str | None
) -> Decision:
    if action is None:
        return _fail(
            view,
            "server_state",
            f"the server is {server.status}; bring it to ACTIVE or SHUTOFF, then replay",
        )
    if action == HERE:
        return _here(desired, view, limits, server)
    if action == BAKE:
        return _bake(view, server)
    if action == REBOOT and (view.recovered or view.calls.get(START) or view.calls.get(UNSHELVE)):
        return Fail(_error_of(server)) if view.fresh else Wait()
    if desired is Desired.READY and view.calls.get(CREATE) and view.waited < limits.deploy_wait:
        return Wait(limits.deploy_wait)
    if not view.fresh and (desired is not Desired.UP or action == REBOOT):
        # the server may be another node's by now; to start one in vain harms nobody
        return Wait()
    return _call(view, limits, action, server)


def _here(desired: Desired, view: NodeView, limits: Limits, server: Server) -> Decision:
    if not view.fresh:
        return Wait()
    # a resized server cannot reboot before its new size is confirmed
    if desired is Desired.UP and view.boot_due and server.status == "ACTIVE":
        reboot = _call(view, limits, REBOOT, server)
        return replace(reboot, for_slurm=True) if isinstance(reboot, Act) else reboot
    return Settled(server)


def _without_server(desired: Desired, view: NodeView, limits: Limits) -> Decision:
    if desired in {Desired.DOWN, Desired.GONE}:
        return Settled(None) if view.fresh else Wait()
    creates = desired is Desired.READY or limits.strategy is Strategy.DELETE
    if desired is Desired.ADOPTED or not creates:
        return _fail(
            view, "server_missing", "no server has this node's name; deploy it, then replay"
        )
    if not limits.creates:
        return _fail(
            view, "no_template", "its group has no [groups.NAME.server] to create servers from"
        )
    # a second creation costs a second server: only a fresh listing shows that there is none
    if not view.fresh:
        return Wait()
    made = view.calls.get(CREATE, 0)
    hopeless = view.trouble is not None and cause_in(view.trouble.message) is not None
    if view.trouble is not None and (hopeless or made >= limits.calls):
        return Fail(view.trouble)
    if made >= limits.calls:
        return _fail(view, "create_failed", f"the server is gone again after {made} creations")
    return Act(CREATE, "")


def _best_first(view: NodeView) -> list[Server]:
    """The one to keep first: it runs, or soon will; then the oldest by id."""
    return sorted(view.servers, key=lambda s: (s.status != "ACTIVE", s.status == "ERROR", s.id))


def _with_surplus(
    desired: Desired, view: NodeView, limits: Limits, surplus: list[Server]
) -> Decision:
    """A creation whose answer was lost may have been made twice."""
    extra = [server for server in surplus if server.id in view.ours and server.task != DELETING]
    may_delete = limits.strategy is Strategy.DELETE or desired in {Desired.READY, Desired.GONE}
    if may_delete and view.fresh:
        if extra and view.calls.get(DELETE, 0) < _most_deletions(view, limits):
            return Act(DELETE, extra[0].id)
        if not extra and view.waited <= limits.stop_timeout:
            return Wait(limits.stop_timeout)
    ids = ", ".join(sorted(server.id for server in view.servers))
    return _fail(view, "ambiguous_server", f"several servers are this node's: {ids}; keep one")


def _most_deletions(view: NodeView, limits: Limits) -> int:
    return limits.calls + view.calls.get(CREATE, 0) + len(view.servers) - 1


def _replace(desired: Desired, view: NodeView, limits: Limits, server: Server) -> Decision:
    """Delete a server: because the node is to be off, or because it is broken."""
    if server.id not in view.ours:
        return _fail(
            view,
            "not_ours",
            f"server {server.id} has the node's name but not our tags; adopt it or rename it",
        )
    if not view.fresh:
        return Wait()
    stuck = server.task == DELETING
    if stuck and view.waited <= limits.stop_timeout:
        return Wait(limits.stop_timeout)
    if view.calls.get(DELETE, 0) >= _most_deletions(view, limits):
        error = "stop_timeout" if stuck else "delete_failed"
        return _fail(view, error, f"the server is {_state(server)} after it was deleted")
    if desired in {Desired.DOWN, Desired.GONE}:
        return Act(DELETE, server.id)
    if server.status == "ERROR":
        return Act(DELETE, server.id, _error_of(server))
    return Act(DELETE, server.id, Cause("delete_failed", "Nova did not finish a deletion"))


def _adopt(view: NodeView, limits: Limits, server: Server) -> Decision:
    if not view.fresh:
        return Wait()
    return Settled(server) if server.id in view.ours else _call(view, limits, TAG, server)


def _bake(view: NodeView, server: Server) -> Decision:
    """A second image fills the cloud: only a fresh listing shows that the server is at rest."""
    if not view.fresh:
        return Wait()
    return Act(FIND_IMAGE if view.calls.get(BAKE) else BAKE, server.id)


def _in_transition(desired: Desired, view: NodeView, limits: Limits, server: Server) -> Decision:
    error, patience = limits.patience(desired)
    if view.waited <= patience:
        return Wait(patience)
    return _fail(view, error, f"the server is {_state(server)} after {patience:g} s")


def _state(server: Server) -> str:
    return server.status if server.task is None else f"{server.status} ({server.task})"


def _call(view: NodeView, limits: Limits, action: str, server: Server) -> Decision:
    calls = view.calls.get(action, 0)
    if not any(view.calls.values()):
        return Act(action, server.id)
    # After a call of ours, only a fresh listing shows what to do next.
    if not view.fresh:
        return Wait()
    if calls < limits.calls:
        return Act(action, server.id)
    return _fail(
        view,
        _FAILURES.get(action, "call_failed"),
        f"the server is {server.status} again after {calls} calls of {action}",
    )


def _error_of(server: Server) -> Cause:
    """The cloud's own words about a server in ERROR."""
    words = server.fault or "the server is in ERROR; Nova names no fault"
    return cause_in(words) or Cause("server_error", words)


def _fail(view: NodeView, error: str, message: str) -> Decision:
    """Only a fresh listing can show a failure."""
    return Fail(Cause(error, message)) if view.fresh else Wait()
