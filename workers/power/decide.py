"""The decision: what to do about one node, given what is wanted and what is seen. Pure.

Nova's behaviour behind it: a failed power-on falls back to SHUTOFF without ERROR, and a failed unshelve
to SHELVED_OFFLOADED, so that the old state without a task after a call is a failure; a server that
finds no host exists, in ERROR; calls answer 409 in a state that does not allow them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from schemas.commands import Desired
from schemas.events import Cause
from schemas.server import Server
from workers.clouds.actions import (
    BAKE,
    CREATE,
    DELETE,
    FIND_IMAGE,
    HERE,
    PASSING,
    REBOOT,
    START,
    STOP,
    TAG,
    UNSHELVE,
    Strategy,
    way,
)

_NS = 1_000_000_000
_NO_HOST = "no valid host"
# Whose failure has had a name of its own since before there were other ways.
_FAILURES = {START: "power_on_failed", STOP: "power_off_failed", UNSHELVE: "unshelve_failed"}


@dataclass(frozen=True, slots=True)
class Limits:
    """A group's patience and means.

    Attributes:
        boot_timeout, stop_timeout: seconds from a call to where it leads.
        calls: of one kind, per round.
        strategy: how its nodes are put out.
        creates: whether the group says how its servers are made.
        deploy_wait: seconds from creating a server for later to putting it out.
        bake_timeout: seconds from a call to where it leads, when an image is to be made.
    """

    boot_timeout: float
    stop_timeout: float
    calls: int
    strategy: Strategy = Strategy.STOP
    creates: bool = False
    deploy_wait: float = 0.0
    bake_timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class NodeView:
    """What is known of a node.

    Attributes:
        servers: those that can be the node's; exactly one is the normal case.
        settles: whether this was seen after the last action's reply, so that it can end the matter;
            what was seen before can only start an action, which Nova refuses where it is wrong.
        calls: how many calls that were done this round has made, by action.
        waited_since: ns since the epoch of the last action, or of the request where there is none.
        now: ns since the epoch.
        ours: the ids of those that carry our tags, or that we have made: they may be deleted.
        trouble: what was wrong with a server that this round has deleted.
        image_id: the image that this request has made, once it is ready.
        recovered: whether this round has tried to reboot it out of ERROR, whatever came of it.
    """

    servers: tuple[Server, ...]
    settles: bool
    calls: Mapping[str, int]
    waited_since: int
    now: int
    ours: frozenset[str] = field(default_factory=frozenset)
    trouble: Cause | None = None
    image_id: str | None = None
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """The node is as wanted; `server` is None where there is none."""

    server: Server | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again later."""


@dataclass(frozen=True, slots=True)
class Act:
    """Make this call; `server_id` is empty for `create`.

    `because` is what is wrong with a server that is deleted for it.
    """

    action: str
    server_id: str
    because: Cause | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """It cannot succeed."""

    cause: Cause


Decision: TypeAlias = Settled | Wait | Act | Fail


def decide(desired: Desired, sight: NodeView, limits: Limits) -> Decision:
    """What to do about a node now."""
    if not sight.servers:
        return _without_server(desired, sight, limits)
    server, *surplus = _best_first(sight)
    if surplus:
        return _with_surplus(desired, sight, limits, surplus)
    action = _way(desired, sight, limits).get(server.status)
    if action == DELETE:
        return _replace(desired, sight, limits, server)
    if desired is Desired.ADOPTED:
        return _adopt(sight, server)
    if server.task is not None or server.status in PASSING:
        return _in_passing(desired, sight, limits, server)
    return _at_rest(desired, sight, limits, server, action)


def _way(desired: Desired, sight: NodeView, limits: Limits) -> Mapping[str, str]:
    """The table that applies; a node whose image is ready is put out, but never deleted."""
    if desired is not Desired.BAKED or sight.image_id is None:
        return way(limits.strategy, desired)
    shelved = limits.strategy is Strategy.SHELVE
    return way(Strategy.SHELVE if shelved else Strategy.STOP, Desired.DOWN)


def _at_rest(
    desired: Desired, sight: NodeView, limits: Limits, server: Server, action: str | None
) -> Decision:
    if action is None:
        return _fail(
            sight,
            "server_state",
            f"the server is {server.status}; bring it to ACTIVE or SHUTOFF, then replay",
        )
    if action == HERE:
        return Settled(server) if sight.settles else Wait()
    if action == BAKE:
        return _bake(sight, server)
    if action == REBOOT and (
        sight.recovered or sight.calls.get(START) or sight.calls.get(UNSHELVE)
    ):
        return Fail(_error_of(server)) if sight.settles else Wait()
    if desired is Desired.READY and _still_deploying(sight, limits):
        return Wait()
    return _call(sight, limits, action, server)


def _without_server(desired: Desired, sight: NodeView, limits: Limits) -> Decision:
    if desired in {Desired.DOWN, Desired.GONE}:
        return Settled(None) if sight.settles else Wait()
    creates = desired is Desired.READY or limits.strategy is Strategy.DELETE
    if desired is Desired.ADOPTED or not creates:
        return _fail(
            sight, "server_missing", "no server has this node's name; deploy it, then replay"
        )
    if not limits.creates:
        return _fail(
            sight, "no_template", "its group does not say how servers are made; give it [...server]"
        )
    made = sight.calls.get(CREATE, 0)
    hopeless = sight.trouble is not None and _NO_HOST in sight.trouble.message.lower()
    # what is created twice burns twice: only a look that settles says that there is none
    if not sight.settles:
        return Wait()
    if sight.trouble is not None and (hopeless or made >= limits.calls):
        return Fail(sight.trouble)
    if made >= limits.calls:
        return _fail(sight, "create_failed", f"the server is gone again after {made} creations")
    return Act(CREATE, "")


def _best_first(sight: NodeView) -> list[Server]:
    """The one to keep first: it runs, or is about to; then the oldest by id."""
    return sorted(sight.servers, key=lambda s: (s.status != "ACTIVE", s.status == "ERROR", s.id))


def _with_surplus(
    desired: Desired, sight: NodeView, limits: Limits, surplus: list[Server]
) -> Decision:
    """A creation whose answer was lost may have been made twice."""
    extra = [server for server in surplus if server.id in sight.ours]
    ours_to_delete = limits.strategy is Strategy.DELETE or desired in {Desired.READY, Desired.GONE}
    if ours_to_delete and extra and sight.settles:
        return Act(DELETE, extra[0].id)
    ids = ", ".join(sorted(server.id for server in sight.servers))
    return _fail(sight, "ambiguous_server", f"several servers have this name: {ids}; rename one")


def _replace(desired: Desired, sight: NodeView, limits: Limits, server: Server) -> Decision:
    """Delete a server: because the node is to be out, or because it is broken."""
    if server.id not in sight.ours:
        return _fail(
            sight,
            "not_ours",
            f"server {server.id} has the node's name, not our tags; adopt it or rename it",
        )
    if not sight.settles:
        return Wait()
    if server.task == "deleting":
        return _in_passing(desired, sight, limits, server)
    wanted_gone = desired in {Desired.DOWN, Desired.GONE}
    if sight.calls.get(DELETE, 0) > limits.calls + sight.calls.get(CREATE, 0):
        return _fail(sight, "delete_failed", f"the server is {server.status} after being deleted")
    return Act(DELETE, server.id, None if wanted_gone else _error_of(server))


def _adopt(sight: NodeView, server: Server) -> Decision:
    if not sight.settles:
        return Wait()
    return Settled(server) if server.id in sight.ours else Act(TAG, server.id)


def _bake(sight: NodeView, server: Server) -> Decision:
    """What is made twice fills the cloud: only a look that settles says that all is at rest."""
    if not sight.settles:
        return Wait()
    return Act(FIND_IMAGE if sight.calls.get(BAKE) else BAKE, server.id)


def _still_deploying(sight: NodeView, limits: Limits) -> bool:
    """Whether what we have just created still needs time to make itself ready."""
    if not sight.calls.get(CREATE):
        return False
    return sight.now - sight.waited_since < limits.deploy_wait * _NS


def _in_passing(desired: Desired, sight: NodeView, limits: Limits, server: Server) -> Decision:
    error, patience = _patience(desired, limits)
    if sight.now - sight.waited_since <= patience * _NS:
        return Wait()
    state = server.status if server.task is None else f"{server.status} ({server.task})"
    return _fail(
        sight,
        error,
        f"the server is {state} after {patience:g} s",
    )


def _patience(desired: Desired, limits: Limits) -> tuple[str, float]:
    """What it is called when patience ends, and its seconds."""
    if desired is Desired.BAKED:
        return "bake_timeout", limits.bake_timeout
    if desired in {Desired.UP, Desired.READY}:
        return "boot_timeout", limits.boot_timeout
    return "stop_timeout", limits.stop_timeout


def _call(sight: NodeView, limits: Limits, action: str, server: Server) -> Decision:
    calls = sight.calls.get(action, 0)
    if not any(sight.calls.values()):
        return Act(action, server.id)
    # We have called before: only what was seen since can say what is to be done next.
    if not sight.settles:
        return Wait()
    if calls < limits.calls:
        return Act(action, server.id)
    return _fail(
        sight,
        _FAILURES.get(action, "call_failed"),
        f"the server is {server.status} again after {calls} calls of {action}",
    )


def _error_of(server: Server) -> Cause:
    """The cloud's own words about a server in ERROR."""
    words = server.fault or "the server is in ERROR; Nova names no fault"
    return Cause("no_valid_host" if _NO_HOST in words.lower() else "server_error", words)


def _fail(sight: NodeView, error: str, message: str) -> Decision:
    """A failure must be seen for sure: an old sight may be wrong."""
    return Fail(Cause(error, message)) if sight.settles else Wait()
