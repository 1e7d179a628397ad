"""A node as a lamp. Pure."""

import enum

from schemas.commands import Desired

# Nova's words for a server that runs, and for one that does not (or is not there: NONE).
_LIT = frozenset({"ACTIVE"})
_OUT = frozenset({"SHUTOFF", "STOPPED", "SHELVED", "SHELVED_OFFLOADED", "DELETED", "NONE"})


class Lamp(enum.StrEnum):
    """What a person sees of a node at a glance."""

    LIT = "lit"
    LIGHTING = "lighting"
    GOING_OUT = "going_out"
    OUT = "out"
    FAILED = "failed"


def lamp(desired: str | None, observed: str | None, *, busy: bool) -> Lamp:
    """How a node is shown.

    Args:
        desired: what was asked of it last (schemas.commands.Desired); None for nothing yet.
        observed: the server's status when a request last ended; None for not looked at yet.
        busy: whether a request is under way.
    """
    if desired is None:
        return Lamp.OUT
    if busy:
        return Lamp.LIGHTING if desired == Desired.UP else Lamp.GOING_OUT
    if desired == Desired.UP:
        return Lamp.LIT if observed in _LIT else Lamp.FAILED
    if desired == Desired.ADOPTED:  # its power stays as it was
        return Lamp.LIT if observed in _LIT else Lamp.OUT if observed in _OUT else Lamp.FAILED
    return Lamp.OUT if observed in _OUT else Lamp.FAILED
