"""A node's power state: what is wanted of the node against what was observed. Pure."""

import enum

from schemas.commands import Desired

# Nova's statuses of a server that runs, and of one that does not run or does not exist (NONE).
_RUNNING = frozenset({"ACTIVE"})
_STOPPED = frozenset({"SHUTOFF", "STOPPED", "SHELVED", "SHELVED_OFFLOADED", "DELETED", "NONE"})


class PowerState(enum.StrEnum):
    """A node's power state; `failed` means that the node is not as wanted."""

    ON = "on"
    POWERING_ON = "powering_on"
    POWERING_OFF = "powering_off"
    OFF = "off"
    FAILED = "failed"


def power_state(desired: str | None, observed: str | None, *, busy: bool) -> PowerState:
    """Derive a node's power state; `busy`: a request is under way.

    `desired` was last requested of the node (schemas.commands.Desired), or None; `observed` is the
    server's status when a request last ended, None if it was never observed.
    """
    if desired is None:
        return PowerState.OFF
    if busy:
        return PowerState.POWERING_ON if desired == Desired.UP else PowerState.POWERING_OFF
    if observed in _RUNNING and desired in {Desired.UP, Desired.ADOPTED}:
        return PowerState.ON
    # an adopted node keeps the power state that it had
    return PowerState.OFF if observed in _STOPPED and desired != Desired.UP else PowerState.FAILED
