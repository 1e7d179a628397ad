"""The guard of a call to a cloud: what is asked immediately before each try."""

import time
from dataclasses import dataclass, field
from itertools import count

from schemas.commands import Desired
from schemas.events import Cause
from workers.clouds.errors import CloudError
from workers.errors import LamplighterError
from workers.power.admit import (
    TAKE,
    UNCONFIRMED,
    Take,
    is_given_up,
    is_late,
    judge_late,
)
from workers.power.intake import PROMPT, Pending
from workers.store.nodes import DesiredRow
from workers.store.power_store import PowerStore
from workers.store.slurm_view import SnapshotReader


class NotWantedError(LamplighterError):
    """The guard of a call refused it: the desired state moved on, or the lease is not ours.

    Attributes:
        earlier: tries of this call that were made before.
        waits: why its requests must wait for a newer snapshot of Slurm, or None.
    """

    def __init__(self, why: str, earlier: int, waits: Cause | None = None) -> None:
        super().__init__(why)
        self.earlier = earlier
        self.waits = waits


@dataclass(slots=True)
class Guard:
    """Runs on the caller's thread, immediately before each try of a call.

    Attributes:
        api_timeout: seconds; the lease must last longer.
        wanted: the row by which the call was decided.
        request: the one that raised the row; None if it waits elsewhere, or has ended.
        is_reboot: whether the call reboots a server because slurmctld waits for a boot.
        rebooted: when the round last did that, or may have done it (ns since the epoch), or None. A
            job may run on the server since: only a later snapshot tells.
    """

    store: PowerStore
    snapshots: SnapshotReader
    api_timeout: float
    wanted: DesiredRow
    request: Pending | None = None
    is_reboot: bool = False
    rebooted: int | None = None
    _tries: "count[int]" = field(default_factory=count)

    def __call__(self) -> None:
        """Refuse the call unless it is still wanted.

        Raises:
            NotWantedError: it must not be made.
        """
        earlier = next(self._tries)
        row = self.store.read_one(self.wanted.node)
        if row.lease_owner != self.store.owner:
            raise NotWantedError("the lease is no longer ours", earlier)
        if row.generation != self.wanted.generation:
            raise NotWantedError(f"generation {row.generation} has come", earlier)
        if row.held is not None:
            raise NotWantedError(f"the node is on hold: {row.held}", earlier)
        if row.lease_left <= self.api_timeout:
            raise NotWantedError(f"the lease ends in {row.lease_left:.1f} s", earlier)
        if row.desired is Desired.UP:
            self._may_boot(row, earlier)
        elif row.desired is Desired.DOWN:
            self._may_power_off(earlier)

    def _may_boot(self, row: DesiredRow, earlier: int) -> None:
        """Refuse a boot that Slurm has given up, and a reboot that may meet a job."""
        off_asked, request = row.off_asked > row.generation, self.request
        again = request if request is not None and request.rested else None
        slurm = self.snapshots.view() if off_asked or again or self.is_reboot else None
        if slurm is None:
            return
        if off_asked and not slurm.wants(row.node, row.off_asked):
            raise _unconfirmed("Slurm has asked later to power the node off", earlier)
        if again is not None and is_given_up(again, slurm):
            raise _unconfirmed("Slurm has powered the node off since its call", earlier)
        if not self.is_reboot:
            return
        if slurm.has_registered(row.node, row.generation):
            raise NotWantedError("Slurm counts the node as running", earlier)
        since = max(row.generation, self.rebooted or 0)
        if self._may_have_booted() and not (slurm.fresh and slurm.generation > since):
            raise _unconfirmed("no snapshot of Slurm since the last boot has come", earlier)

    def _may_have_booted(self) -> bool:
        """Whether the node may have booted after slurmctld's call, so that a job may run on it.

        An earlier request may have booted it, if this one came late or waits here for long.
        """
        request = self.request
        if request is None or request.rested or self.rebooted is not None:
            return True
        return time.monotonic() - request.since > PROMPT

    def _may_power_off(self, earlier: int) -> None:
        """Refuse what Slurm may have taken back."""
        if self.request is not None and not is_late(self.request, time.time_ns()):
            return
        slurm = self.snapshots.view()
        asked = self.wanted if self.request is None else self.request.command
        verdict = TAKE if slurm is None else judge_late(asked, slurm)
        if not isinstance(verdict, Take):
            raise NotWantedError(verdict.cause.message, earlier, verdict.cause)


def _unconfirmed(why: str, earlier: int) -> NotWantedError:
    return NotWantedError(why, earlier, Cause(UNCONFIRMED, why))


def may_take_effect(error: BaseException) -> bool:
    """Whether a failed call, or an earlier try of it, may still take effect."""
    if isinstance(error, NotWantedError):
        return error.earlier > 0
    if isinstance(error, CloudError):
        return not error.answered
    return not isinstance(error, LamplighterError)
