"""Defines the updates that Slurm receives. Pure."""

import enum
from dataclasses import dataclass


class UpdateKind(enum.StrEnum):
    """What is reported to Slurm for a node.

    TAKE_OUT: DOWN with a reason, then POWER_DOWN: the node is out of service until it is returned.
    GIVE_BACK: POWER_DOWN_FORCE with a reason: this boot is abandoned, the next one may follow.
    EXPLAIN: only the reason: Slurm itself has abandoned the boot.
    DONE: nothing: it was reported already, before a crash or by another worker.
    ADDRESS: its NodeAddr, and its NodeHostName if the group sets one.
    RETURN: IDLE: the node is back in service.
    POWER_DOWN: POWER_DOWN again: Slurm has lost it, the node is out of service and not powered down.
    WAIT: nothing yet: check again soon.
    DRY_RUN: nothing, because its group is in a dry run; `why` is the kind of the real update.
    NOTHING: nothing at all.
    """

    TAKE_OUT = "take_out"
    GIVE_BACK = "give_back"
    EXPLAIN = "explain"
    DONE = "done"
    ADDRESS = "address"
    RETURN = "return"
    POWER_DOWN = "power_down"
    WAIT = "wait"
    DRY_RUN = "dry_run"
    NOTHING = "nothing"

    @property
    def fails_boot(self) -> bool:
        """Whether the boot has failed from Slurm's point of view: jobs that waited for it may go on."""
        return self in _FAILURES


_FAILURES = frozenset(
    {UpdateKind.TAKE_OUT, UpdateKind.GIVE_BACK, UpdateKind.EXPLAIN, UpdateKind.DONE}
)


@dataclass(frozen=True, slots=True)
class SlurmUpdate:
    """The update of one node, and why.

    Attributes:
        jobs: the jobs that waited for the node.
        ran: whether they ran on it instead: it was lost, and did not fail to boot.
    """

    kind: UpdateKind
    node: str
    why: str
    reason: str = ""
    address: str = ""
    hostname: str = ""
    jobs: frozenset[int] = frozenset()
    ran: bool = False

    @property
    def content(self) -> tuple[UpdateKind, str, str, str]:
        """What Slurm receives; two updates with the same content may differ in `why`, `jobs` and `ran`."""
        return self.kind, self.reason, self.address, self.hostname


def without_effect(update: SlurmUpdate) -> SlurmUpdate:
    """The update as it is in a dry run."""
    if update.kind in {UpdateKind.NOTHING, UpdateKind.WAIT}:
        return update
    return SlurmUpdate(UpdateKind.DRY_RUN, update.node, str(update.kind), update.reason)
