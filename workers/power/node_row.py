"""A node's row in the store, and how a worker owns it."""

from dataclasses import dataclass

from schemas.commands import Desired
from workers.power.lease_owner import Owner


@dataclass(frozen=True, slots=True)
class Lease:
    """How a worker owns nodes.

    Attributes:
        owner: the worker.
        seconds: how long a node is its own without renewing.
        settling: seconds within which a call that was sent takes effect, if ever.
    """

    owner: Owner
    seconds: float
    settling: float

    @property
    def ms(self) -> int:
        """Milliseconds of the lease."""
        return int(self.seconds * 1000)

    @property
    def settling_ms(self) -> int:
        """Milliseconds until a call has taken effect."""
        return int(self.settling * 1000)


@dataclass(frozen=True, slots=True)
class DesiredRow:
    """A node's row.

    Attributes:
        request_id: of the request that raised it to this generation.
        lease_owner: who may act on the node, if anybody.
        lease_left: seconds that the lease still runs; not above 0 where it has ended.
        unsettled_left: seconds in which a call may still take effect whose answer was lost; what is
            listed before ends nothing.
        held: why the node is on hold, or None.
        booted: the generation under which a call last booted the node.
        boot_from: slurmctld waits for a boot under this generation or a later one.
    """

    node: str
    desired: Desired
    generation: int
    request_id: str
    server_id: str | None
    lease_owner: str | None
    lease_left: float
    unsettled_left: float = 0.0
    held: str | None = None
    booted: int = 0
    boot_from: int = 0

    @property
    def boot_due(self) -> bool:
        """Whether the node must boot before slurmctld takes it, though its server may run."""
        return self.booted < self.boot_from
