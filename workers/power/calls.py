"""The guard of a call to a cloud: what is asked immediately before each try."""

import time
from dataclasses import dataclass
from functools import partial
from math import inf

from schemas.commands import Desired
from schemas.events import Cause
from workers.clouds.errors import NotWantedError
from workers.power.admit import (
    DISAGREES,
    UNCONFIRMED,
    Admission,
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

# Clocks that agree within this many seconds count as one.
_SAME_CLOCK = 1.0
_unconfirmed = partial(NotWantedError, error=UNCONFIRMED)


@dataclass(slots=True)
class Guard:
    """Runs on the caller's thread, immediately before each try of a call.

    Attributes:
        api_timeout: seconds; the lease must last longer.
        wanted: the row by which the call was decided.
        request: the one that raised the row; None if it waits elsewhere, or has ended.
        registers_within: seconds in which a node registers after its boot, if ever.
        is_reboot: whether the call reboots a server because slurmctld waits for a boot.
        ends_deploy: whether it powers off a server that was created to be deployed.
        replaces: whether it ends what a broken server runs, or makes one beside a server that is not listed.
        seen_on: since when it was seen that the server to reboot, which had been off, is on
            (monotonic): somebody else has booted it.
    """

    store: PowerStore
    snapshots: SnapshotReader
    api_timeout: float
    wanted: DesiredRow
    request: Pending | None = None
    registers_within: float = 0.0
    is_reboot: bool = False
    ends_deploy: bool = False
    replaces: bool = False
    seen_on: float = -inf

    def __call__(self) -> None:
        """Refuse the call unless it is still wanted.

        Raises:
            NotWantedError: it must not be made.
        """
        began = time.monotonic()
        row = self.store.read_one(self.wanted.node)
        if row.lease_owner != self.store.owner:
            raise NotWantedError("the lease is no longer ours")
        if row.generation != self.wanted.generation:
            raise NotWantedError(f"generation {row.generation} has come")
        if row.held is not None:
            raise NotWantedError(f"the node is on hold: {row.held}")
        if row.desired is Desired.UP:
            self._may_boot(row)
        elif row.desired is Desired.DOWN:
            self._may_power_off(row)
        elif self.ends_deploy:
            self._may_end_deploy(row)
        left = row.lease_left - (time.monotonic() - began)
        if left <= self.api_timeout:
            raise NotWantedError(f"the lease ends in {left:.1f} s")

    def _may_boot(self, row: DesiredRow) -> None:
        """Refuse a boot that Slurm has given up, and a reboot that may meet a job."""
        off_asked, request = row.off_asked > row.generation, self.request
        again = request if request is not None and request.rested else None
        now = time.time_ns()
        expired = request is not None and is_expired_boot(request.command, now)
        asks = off_asked or again or expired or self.is_reboot or self.replaces
        slurm = self.snapshots.view() if asks else None
        if slurm is None:
            return
        if expired and request is not None:
            self._require(judge_expired_boot(request.command, slurm, now))
        if off_asked and not slurm.wants(row.node, row.off_asked):
            raise _unconfirmed("Slurm has asked later to power the node off")
        if again is not None and is_given_up(again, slurm):
            raise _unconfirmed("Slurm has powered the node off since its call")
        if self.is_reboot:
            self._may_reboot(row, slurm)
        if self.replaces and slurm.answers(row.node, row.generation):
            raise NotWantedError("a job may run: its slurmd answers", DISAGREES, ends=True)

    def _may_reboot(self, row: DesiredRow, slurm: SlurmView) -> None:
        """Refuse to reboot a server on which a job may run.

        It may have booted since slurmctld's call where that came late, or waits here for long: for an earlier
        request. So may it if it was booted hardly before the call, or since, whatever the cloud answered.
        """
        if slurm.has_registered(row.node, row.generation):
            raise NotWantedError("Slurm counts the node as running")
        if slurm.generation > row.generation and not slurm.is_booting(row.node):
            raise _unconfirmed("Slurm waits for no boot of the node")
        request = self.request
        if request is not None and not _may_have_booted(row, request):
            return
        had_time = slurm.age <= time.monotonic() - self.seen_on - PROMPT
        if not (slurm.generation > row.generation and had_time and _has_seen_boot(row, slurm)):
            raise _unconfirmed("no recent snapshot of Slurm since the last boot has come")

    def _may_power_off(self, row: DesiredRow) -> None:
        """Refuse what Slurm may have taken back; a node that registers is back without any call."""
        request = self.request
        if request is not None:
            # slurmctld may have forgotten its call, or taken it back, while it waits here
            here = time.monotonic() - request.since
            waits = here > PROMPT and request.command.is_slurms_power_off
            if not waits and not is_late(request, time.time_ns()):
                return
        slurm = self.snapshots.view()
        if slurm is None:
            return
        self._require(judge_late(self.wanted if request is None else request.command, slurm))
        may_register = row.boot_age is not None and row.boot_age < self.registers_within
        if may_register and not _has_seen_boot(row, slurm):
            raise _unconfirmed("the node may register: no recent snapshot since its boot")

    def _may_end_deploy(self, row: DesiredRow) -> None:
        """Refuse to power off a new server that has registered, or may: it gets jobs without any call."""
        slurm = self.snapshots.view()
        if slurm is None:
            return
        if slurm.has_registered(row.node, row.generation):
            why = "Slurm counts the node as running, and powers it off itself when it is idle"
            raise NotWantedError(why, DISAGREES, ends=True)
        if not _has_seen_boot(row, slurm):
            raise _unconfirmed("the new server may register: no recent snapshot of Slurm has come")

    @staticmethod
    def _require(verdict: Admission) -> None:
        if not isinstance(verdict, Take):
            cause = verdict if isinstance(verdict, Cause) else verdict.cause
            raise NotWantedError(cause.message, cause.error)


def _may_have_booted(row: DesiredRow, request: Pending) -> bool:
    """Whether the node may have booted since slurmctld's call, or hardly before; or if it did not call.

    Nobody knows the age of a call that the hooks' clock puts into the future.
    """
    called_now = request.command.is_slurms_boot and not request.rested
    here, age = time.monotonic() - request.since, time.time() - request.command.time / 1e9
    lately = row.boot_age is not None and row.boot_age < max(age, here) + PROMPT
    return not called_now or here > PROMPT or lately or age < -_SAME_CLOCK


def _has_seen_boot(row: DesiredRow, slurm: SlurmView) -> bool:
    """Whether a recent snapshot came when the last boot had had its time to register."""
    return slurm.recent and (row.boot_age is None or slurm.age <= row.boot_age - PROMPT)
