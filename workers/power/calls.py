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
    Judgement,
    Take,
    is_expired_boot,
    is_given_up,
    is_late,
    judge_expired_boot,
    judge_late,
)
from workers.power.intake import PROMPT, Pending
from workers.store.nodes import DesiredRow
from workers.store.power_store import PowerStore
from workers.store.slurm_view import SlurmView, SnapshotReader


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
        expired = request is not None and is_expired_boot(request.command, time.time_ns())
        asks = off_asked or again or expired or self.is_reboot
        slurm = self.snapshots.view() if asks else None
        if slurm is None:
            return
        if expired and request is not None:
            self._require(judge_expired_boot(request.command, slurm), earlier)
        if off_asked and not slurm.wants(row.node, row.off_asked):
            raise _unconfirmed("Slurm has asked later to power the node off", earlier)
        if again is not None and is_given_up(again, slurm):
            raise _unconfirmed("Slurm has powered the node off since its call", earlier)
        if self.is_reboot:
            self._may_reboot(row, slurm, earlier)

    def _may_reboot(self, row: DesiredRow, slurm: SlurmView, earlier: int) -> None:
        """Refuse to reboot a server on which a job may run.

        It may have booted since slurmctld's call where the call came late, or waits here for long: an
        earlier request may have booted it.
        """
        if slurm.has_registered(row.node, row.generation):
            raise NotWantedError("Slurm counts the node as running", earlier)
        if slurm.generation > row.generation and not slurm.is_booting(row.node):
            raise _unconfirmed("Slurm waits for no boot of the node", earlier)
        request = self.request
        if request is not None and not (
            request.rested or self.rebooted or self._waits_long(request)
        ):
            return
        since = max(row.generation, self.rebooted or 0)
        if not (slurm.fresh and slurm.generation > since):
            raise _unconfirmed("no snapshot of Slurm since the last boot has come", earlier)

    @staticmethod
    def _waits_long(request: Pending) -> bool:
        """Whether slurmctld may have forgotten its call, or taken it back, while it waits here."""
        return time.monotonic() - request.since > PROMPT

    def _may_power_off(self, earlier: int) -> None:
        """Refuse what Slurm may have taken back."""
        request = self.request
        if request is not None:
            waits = request.command.is_slurms_power_off and self._waits_long(request)
            if not waits and not is_late(request, time.time_ns()):
                return
        slurm = self.snapshots.view()
        asked = self.wanted if request is None else request.command
        self._require(TAKE if slurm is None else judge_late(asked, slurm), earlier)

    @staticmethod
    def _require(verdict: Judgement, earlier: int) -> None:
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
