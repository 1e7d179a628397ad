"""What the engine may do about a node next, as values."""

from dataclasses import dataclass
from typing import TypeAlias

from schemas.events import Cause, Transition
from schemas.server import Server
from workers.clouds.decide import Act


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Nothing to do until a listing comes, the node's servers change, or `until` (monotonic).

    Attributes:
        until: None where time alone changes nothing.
        listing: whether any newer listing is enough to decide again.
        whole: whether that must be a listing of all servers.
    """

    until: float | None = None
    listing: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class MakeCall:
    """Make this call when the cloud allows it."""

    act: Act


@dataclass(frozen=True, slots=True)
class Finish:
    """The node has come as far as it will: end all its requests."""

    transition: Transition
    cause: Cause | None
    server: Server | None


@dataclass(frozen=True, slots=True)
class Retry:
    """One more attempt has failed."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class ParkNode:
    """Let its requests rest with their attempts unchanged.

    `afresh` starts the round's patience again.
    """

    cause: Cause
    tier: str
    afresh: bool = False


Step: TypeAlias = WaitFor | MakeCall | Finish | Retry | ParkNode
