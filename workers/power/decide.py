"""The decision: what to do about one node, given what is wanted and what is seen. Pure.

Nova's behaviour behind it: a failed power-on falls back to SHUTOFF without ERROR, so that SHUTOFF
without a task state after a start is a failure; start and stop answer 409 in a state that does not
allow them; an ERROR server can be stopped but not started.
"""

from dataclasses import dataclass
from typing import TypeAlias

from schemas.commands import Desired
from schemas.events import Cause
from workers.power.servers import Server

START = "os-start"
STOP = "os-stop"

_NS = 1_000_000_000
# States that lead by themselves to ACTIVE, SHUTOFF or ERROR.
_PASSING = frozenset({"BUILD", "REBOOT", "HARD_REBOOT", "MIGRATING", "PASSWORD", "REBUILD"})
_OUT = frozenset({"SHUTOFF", "SHELVED", "SHELVED_OFFLOADED"})


@dataclass(frozen=True, slots=True)
class Limits:
    """A group's patience: seconds, and calls of one kind per round."""

    boot_timeout: float
    stop_timeout: float
    calls: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of a node.

    Attributes:
        servers: those that can be the node's; exactly one is the normal case.
        settles: whether this was seen after the last action's reply, so that it can end the matter;
            what was seen before can only start an action, which Nova refuses where it is wrong.
        calls: how many calls of the wanted kind this round has made.
        waited_since: ns since the epoch of the last action, or of the request where there is none.
        now: ns since the epoch.
    """

    servers: tuple[Server, ...]
    settles: bool
    calls: int
    waited_since: int
    now: int


@dataclass(frozen=True, slots=True)
class Settled:
    """The node is as wanted; `server` is None where nothing is left to put out."""

    server: Server | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again later."""


@dataclass(frozen=True, slots=True)
class Act:
    """Make this call."""

    action: str
    server_id: str


@dataclass(frozen=True, slots=True)
class Fail:
    """It cannot succeed."""

    cause: Cause


Decision: TypeAlias = Settled | Wait | Act | Fail


def decide(desired: Desired, sight: Sight, limits: Limits) -> Decision:
    """What to do about a node now."""
    if len(sight.servers) > 1:
        ids = ", ".join(server.id for server in sight.servers)
        return _fail(
            sight, "ambiguous_server", f"several servers have this name: {ids}; rename one"
        )
    if not sight.servers:
        return _without_server(desired, sight)
    server = sight.servers[0]
    up = desired is Desired.UP
    if up and server.status == "ERROR" and server.task is None:
        return _fail(
            sight, "server_error", server.fault or "the server is in ERROR; Nova names no fault"
        )
    if server.task is not None or server.status in _PASSING:
        return _in_passing(up, sight, limits, server)
    if server.status == ("ACTIVE" if up else "SHUTOFF") or (not up and server.status in _OUT):
        return Settled(server) if sight.settles else Wait()
    startable, stoppable = server.status == "SHUTOFF", server.status in {"ACTIVE", "ERROR"}
    if not (startable if up else stoppable):
        return _fail(
            sight,
            "server_state",
            f"the server is {server.status}; bring it to ACTIVE or SHUTOFF, then replay",
        )
    return _call(sight, limits, START if up else STOP, server)


def _without_server(desired: Desired, sight: Sight) -> Decision:
    if desired is Desired.UP:
        return _fail(
            sight, "server_missing", "no server has this node's name; deploy it, then replay"
        )
    return Settled(None) if sight.settles else Wait()


def _in_passing(up: bool, sight: Sight, limits: Limits, server: Server) -> Decision:  # noqa: FBT001 - the direction
    patience = limits.boot_timeout if up else limits.stop_timeout
    if sight.now - sight.waited_since <= patience * _NS:
        return Wait()
    state = server.status if server.task is None else f"{server.status} ({server.task})"
    return _fail(
        sight,
        "boot_timeout" if up else "stop_timeout",
        f"the server is {state} after {patience:g} s",
    )


def _call(sight: Sight, limits: Limits, action: str, server: Server) -> Decision:
    if sight.calls == 0:
        return Act(action, server.id)
    # We have called before: only what was seen since can say that it did not help.
    if not sight.settles:
        return Wait()
    if sight.calls < limits.calls:
        return Act(action, server.id)
    return _fail(
        sight,
        "power_on_failed" if action == START else "power_off_failed",
        f"the server is {server.status} again after {sight.calls} calls of {action}",
    )


def _fail(sight: Sight, error: str, message: str) -> Decision:
    """A failure must be seen for sure: an old sight may be wrong."""
    return Fail(Cause(error, message)) if sight.settles else Wait()
