"""Shows a node as a lamp, for the console and the metrics. Pure."""

import enum

from schemas.commands import Desired

# Nova's states of a server that runs, and of one that does not run or does not exist (NONE).
_LIT = frozenset({"ACTIVE"})
_OUT = frozenset({"SHUTOFF", "STOPPED", "SHELVED", "SHELVED_OFFLOADED", "DELETED", "NONE"})


class Lamp(enum.StrEnum):
    """The state of a node at a glance."""

    LIT = "lit"
    LIGHTING = "lighting"
    GOING_OUT = "going_out"
    OUT = "out"
    FAILED = "failed"


def lamp(desired: str | None, observed: str | None, *, busy: bool) -> Lamp:
    """The lamp of a node.

    Args:
        desired: the last requested state (schemas.commands.Desired); None before the first request.
        observed: the server's status at the end of the last request; None before that.
        busy: whether a request is in progress.
    """
    if desired is None:
        return Lamp.OUT
    if busy:
        return Lamp.LIGHTING if desired == Desired.UP else Lamp.GOING_OUT
    if desired == Desired.UP:
        return Lamp.LIT if observed in _LIT else Lamp.FAILED
    if desired == Desired.ADOPTED:  # adopting a server does not change its power state
        return Lamp.LIT if observed in _LIT else Lamp.OUT if observed in _OUT else Lamp.FAILED
    return Lamp.OUT if observed in _OUT else Lamp.FAILED
