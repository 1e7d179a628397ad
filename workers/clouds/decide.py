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
    NEXT_ACTIONS,
    PASSING,
    REBOOT,
    START,
    STOP,
    TAG,
    UNSEEN,
    UNSHELVE,
    Strategy,
)
from workers.clouds.errors import cause_in
from workers.clouds.strays import best_first, may_have_job
from workers.config.groups import GroupSettings

SERVER_UNSEEN = "server_unseen"  # it is there, though the cloud says nothing of it
# The error classes of failed actions; the others share one.
_FAILURES = {
    START: "power_on_failed",
    STOP: "power_off_failed",
    UNSHELVE: "unshelve_failed",
    TAG: "adopt_failed",
}


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a listing showed of a node.

    Attributes:
        servers: those that can be the node's; exactly one is the normal case.
        fresh: whether the listing was requested after the last call's answer, so that it can end
            the round; an older one can only power a server on, which Nova refuses if it is wrong.
        calls: the successful calls of this round, by action.
        deleted: how often this round has deleted each server, by id.
        waited: seconds from the last call that may have been made, or from acceptance, to the listing's request.
        ours: the ids of the servers that carry our tags: they may be deleted.
        own_id: of the server that was acted on last for the node; None if it is unknown.
        trouble: what was wrong with a server that this round has deleted.
        image_id: the image that this request has made, once it is ready.
        recovered: whether this round has tried to reboot the server out of ERROR.
        deployed: whether its server was created, or may have been, to be powered off.
        boot_due: whether a running server must boot once more, because slurmctld waits for a boot.
    """

    servers: tuple[Server, ...]
    fresh: bool
    calls: Mapping[str, int]
    waited: float
    ours: frozenset[str] = field(default_factory=frozenset)
    own_id: str | None = None
    deleted: Mapping[str, int] = field(default_factory=dict)
    trouble: Cause | None = None
    image_id: str | None = None
    recovered: bool = False
    deployed: bool = False
    boot_due: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """The node is as wanted; `server` is None where it has none."""

    server: Server | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Decide again after another listing; with `patience`, not before that many seconds of waiting."""

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


def decide(desired: Desired, view: NodeView, group: GroupSettings) -> Decision:
    """What to do about a node now."""
    if not view.servers:
        return _without_server(desired, view, group)
    several = len(view.servers) > 1
    server, *surplus = best_first(view.servers, view.own_id) if several else view.servers
    if surplus:
        return _with_surplus(desired, view, group, surplus)
    action = _actions(desired, view, group).get(server.status)
    creates_again = desired in {Desired.UP, Desired.READY} and group.strategy == "delete"
    if action == DELETE or (server.task == DELETING and creates_again and server.id in view.ours):
        return _replace(desired, view, group, server)
    if desired is Desired.ADOPTED:
        return _adopt(view, group, server)
    if server.task is not None or server.status in PASSING:
        return _in_transition(desired, view, group, server)
    return _at_rest(desired, view, group, server, action)


def _actions(desired: Desired, view: NodeView, group: GroupSettings) -> Mapping[str, str]:
    """The table that applies; a node whose image is ready is powered off, but never deleted."""
    if desired is not Desired.BAKED or view.image_id is None:
        return NEXT_ACTIONS[Strategy(group.strategy), desired]
    shelved = group.strategy == "shelve"
    return NEXT_ACTIONS[Strategy.SHELVE if shelved else Strategy.STOP, Desired.DOWN]


def _at_rest(
    desired: Desired, view: NodeView, group: GroupSettings, server: Server, action: str | None
) -> Decision:
    if action is None and server.status == UNSEEN:
        return _fail(view, SERVER_UNSEEN, f"the cloud does not say how server {server.id} is")
    if action is None:
        words = f"the server is {server.status}; bring it to ACTIVE or SHUTOFF, then replay"
        return _fail(view, "server_state", words)
    if action == HERE:
        return _here(desired, view, group, server)
    if action == BAKE:
        return _bake(view, server)
    if action == REBOOT and (view.recovered or view.calls.get(START) or view.calls.get(UNSHELVE)):
        return Fail(_error_of(server)) if view.fresh else Wait()
    if view.deployed and view.waited < group.deploy_wait:
        return Wait(group.deploy_wait)
    if not view.fresh and (desired is not Desired.UP or action == REBOOT):
        # the server may be another node's by now; to start one in vain harms nobody
        return Wait()
    return _call(view, group, action, server)


def _here(desired: Desired, view: NodeView, group: GroupSettings, server: Server) -> Decision:
    if not view.fresh:
        return Wait()
    # a resized server cannot reboot before its new size is confirmed
    if desired is Desired.UP and view.boot_due and server.status == "ACTIVE":
        reboot = _call(view, group, REBOOT, server)
        return replace(reboot, for_slurm=True) if isinstance(reboot, Act) else reboot
    return Settled(server)


def _without_server(desired: Desired, view: NodeView, group: GroupSettings) -> Decision:
    if desired in {Desired.DOWN, Desired.GONE}:
        return Settled(None) if view.fresh else Wait()
    creates = desired is Desired.READY or group.strategy == "delete"
    if desired is Desired.ADOPTED or not creates:
        return _fail(
            view, "server_missing", "no server has this node's name; deploy it, then replay"
        )
    if group.server is None:
        return _fail(
            view, "no_template", "its group has no [groups.NAME.server] to create servers from"
        )
    # a second creation costs a second server: only a fresh listing shows that there is none
    if not view.fresh:
        return Wait()
    made = view.calls.get(CREATE, 0)
    if (trouble := view.trouble) and (made >= group.boots or cause_in(trouble.message)):
        return Fail(trouble)
    if made >= group.boots:
        return _fail(view, "create_failed", f"the server is gone again after {made} creations")
    return Act(CREATE, "")


def _with_surplus(
    desired: Desired, view: NodeView, group: GroupSettings, surplus: list[Server]
) -> Decision:
    """A creation was made twice, or a deletion lost half-way; a job can be on either that stays up."""
    over = view.waited > group.stop_timeout
    may_delete = group.strategy == "delete" or desired in {Desired.READY, Desired.GONE}
    if may_delete and view.fresh:
        stays = desired in {Desired.UP, Desired.ADOPTED}
        spared = [server for server in surplus if stays and may_have_job(server)]
        for server in surplus:
            due = server not in spared and (over or server.task != DELETING)
            if due and server.id in view.ours and view.deleted.get(server.id, 0) < group.boots:
                return Act(DELETE, server.id)
        if not (over or spared):
            return Wait(group.stop_timeout)
    ids = ", ".join(sorted(server.id for server in view.servers))
    return _fail(view, "ambiguous_server", f"several servers are this node's: {ids}; keep one")


def _replace(desired: Desired, view: NodeView, group: GroupSettings, server: Server) -> Decision:
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
    if stuck and view.waited <= group.stop_timeout:
        return Wait(group.stop_timeout)
    if view.deleted.get(server.id, 0) >= group.boots:
        error = "stop_timeout" if stuck else "delete_failed"
        return _fail(view, error, f"the server is {_state(server)} after it was deleted")
    if desired in {Desired.DOWN, Desired.GONE}:
        return Act(DELETE, server.id)
    if server.status == "ERROR":
        return Act(DELETE, server.id, _error_of(server))
    return Act(DELETE, server.id, Cause("delete_failed", "Nova did not finish a deletion"))


def _adopt(view: NodeView, group: GroupSettings, server: Server) -> Decision:
    if not view.fresh:
        return Wait()
    return Settled(server) if server.id in view.ours else _call(view, group, TAG, server)


def _bake(view: NodeView, server: Server) -> Decision:
    """A second image fills the cloud: only a fresh listing shows that the server is at rest."""
    action = FIND_IMAGE if view.calls.get(BAKE) else BAKE
    return Act(action, server.id) if view.fresh else Wait()


def _in_transition(
    desired: Desired, view: NodeView, group: GroupSettings, server: Server
) -> Decision:
    error, patience = _patience(desired, group)
    if view.waited <= patience:
        return Wait(patience)
    return _fail(view, error, f"the server is {_state(server)} after {patience:g} s")


def _patience(desired: Desired, group: GroupSettings) -> tuple[str, float]:
    """The error class when patience ends, and its seconds."""
    if desired is Desired.BAKED:
        return "bake_timeout", group.bake_timeout
    if desired in {Desired.UP, Desired.READY}:
        return "boot_timeout", group.boot_timeout
    return "stop_timeout", group.stop_timeout


def _state(server: Server) -> str:
    return server.status if server.task is None else f"{server.status} ({server.task})"


def _call(view: NodeView, group: GroupSettings, action: str, server: Server) -> Decision:
    calls = view.calls.get(action, 0)
    if not any(view.calls.values()):
        return Act(action, server.id)
    # After a call of ours, only a fresh listing shows what to do next.
    if not view.fresh:
        return Wait()
    if calls < group.boots:
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
