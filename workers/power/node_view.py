"""What the decision table is given: a node as listed, and its group's limits. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.commands import Desired
from schemas.events import Cause
from schemas.server import Server
from workers.clouds.actions import Strategy


@dataclass(frozen=True, slots=True)
class Limits:
    """A group's patience and means.

    Attributes:
        boot_timeout, stop_timeout: seconds from a call to the state that it leads to.
        calls: of one kind, per round.
        strategy: how its nodes are powered off.
        creates: whether the group has a template to create servers from.
        deploy_wait: seconds from creating a server for later use to powering it off.
        bake_timeout: seconds from a call to the state that it leads to, while an image is made.
    """

    boot_timeout: float
    stop_timeout: float
    calls: int
    strategy: Strategy = Strategy.STOP
    creates: bool = False
    deploy_wait: float = 0.0
    bake_timeout: float = 3600.0

    def patience(self, desired: Desired) -> tuple[str, float]:
        """The error class when patience ends, and its seconds."""
        if desired is Desired.BAKED:
            return "bake_timeout", self.bake_timeout
        if desired in {Desired.UP, Desired.READY}:
            return "boot_timeout", self.boot_timeout
        return "stop_timeout", self.stop_timeout


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a listing showed of a node.

    Attributes:
        servers: those that can be the node's; exactly one is the normal case.
        fresh: whether the listing was requested after the last call's answer, so that it can end
            the round; an older one can only power a server on, which Nova refuses if it is wrong.
        calls: the successful calls of this round, by action.
        waited: seconds from the last successful call, or from acceptance, to the listing's request.
        ours: the ids of the servers that carry our tags, or that we created: they may be deleted.
        trouble: what was wrong with a server that this round has deleted.
        image_id: the image that this request has made, once it is ready.
        recovered: whether this round has tried to reboot the server out of ERROR.
        boot_due: whether a running server must boot once more, because slurmctld waits for a boot.
    """

    servers: tuple[Server, ...]
    fresh: bool
    calls: Mapping[str, int]
    waited: float
    ours: frozenset[str] = field(default_factory=frozenset)
    trouble: Cause | None = None
    image_id: str | None = None
    recovered: bool = False
    boot_due: bool = False
