"""What becomes of a request that has just arrived: taken, parked, or ended at once. Pure.

slurmctld does not wait for SuspendProgram: after SuspendTimeout it may resume the node, and the request
of that may be late, or lost with a store that was restored. A node that failed to resume may register
after all and run jobs, without any call of a program: so a boot that it no longer waits for is made
only if its snapshot still wants the node up. A slurmctld that is killed right after its call
has forgotten it when it is back. So a suspend that is late or has rested, every resume-fail and repair that
powers off, and every suspend that meets a store that no snapshot has confirmed, wait for what Slurm says itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from schemas.commands import Desired, Kind, PowerCommand
from schemas.events import Cause, Transition
from schemas.snapshot import Power
from workers.broker.topology import RETRY_TIERS
from workers.power.intake import Pending
from workers.store.generations import ClockLimit
from workers.store.nodes import DesiredRow
from workers.store.slurm_view import WANTED, SlurmView

UNCONFIRMED = "unconfirmed"
DISAGREES = "slurm_disagrees"
IMPLAUSIBLE = "implausible_generation"
FIRST_TIER, LATER_TIER = list(RETRY_TIERS)[:2]
# How many times in the first tier before the next one: about a minute.
_SOON = 12


@dataclass(frozen=True, slots=True)
class Take:
    """Raise the node's desired state, and reconcile the node."""


@dataclass(frozen=True, slots=True)
class End:
    """End its round at once; with `alarm`, operators must know."""

    transition: Transition
    cause: Cause
    alarm: bool = False


# A cause: let it rest with its attempts unchanged, for one until a newer snapshot has come.
Admission: TypeAlias = Take | Cause | End
TAKE = Take()


def admit(
    request: Pending,
    nodes: Mapping[str, str],
    slurm: SlurmView | None,
    clock: ClockLimit,
    now: int,
) -> Admission:
    """The admission of a request; `now` in ns since the epoch.

    `nodes` has each configured node's group; `slurm` is None where snapshots do not count.
    """
    command = request.command
    if command.generation > clock.until:
        cause = ahead_of_time(command, now)
        if slurm is None or clock.is_after_reset:
            return End(Transition.FAILED, cause, alarm=clock.is_after_reset)
        return cause
    if command.node not in nodes:
        cause = Cause(
            "unknown_node",
            f"{command.node} is in no group of lamplighter.toml; add it, then replay",
        )
        return End(Transition.FAILED, cause, alarm=True)
    if slurm is None:
        return TAKE
    return judge(request, slurm, now)


def tier_of(request: Pending) -> str:
    """The retry tier in which a request rests."""
    return FIRST_TIER if request.history.parked < _SOON else LATER_TIER


def ahead_of_time(command: PowerCommand, now: int) -> Cause:
    """That its generation lies in the future, and the remedy."""
    return Cause(
        IMPLAUSIBLE,
        f"generation {command.generation} lies {(command.generation - now) / 1e9:.0f} s ahead; "
        f"correct the clock of {command.origin}, then run: lamplighter clock reset",
    )


def judge(request: Pending, slurm: SlurmView, now: int) -> Admission:
    """The verdict on a request; `now` in ns since the epoch.

    An operator's suspend has no expiry, and Slurm knows nothing of it: it passes. A node that Slurm
    no longer knows can run no job: its server may be powered off.
    """
    command = request.command
    if request.rested and is_given_up(request, slurm):
        shown = f"Slurm's snapshot {slurm.generation} shows the node as {slurm.power[command.node]}"
        return End(Transition.SUPERSEDED, Cause(DISAGREES, shown))
    if is_expired_boot(command, now):
        return judge_expired_boot(command, slurm, now)
    if not command.is_slurms_power_off:
        return TAKE
    if is_late(request, now):
        return judge_late(command, slurm)
    if slurm.generation >= command.generation:
        return _by_power(command.node, slurm)
    return TAKE if slurm.confirmed else _waits("no snapshot of Slurm has come yet")


def judge_late(asked: PowerCommand | DesiredRow, slurm: SlurmView) -> Admission:
    """The verdict on powering a node off that Slurm may have taken back: by a newer, fresh snapshot.

    `asked` is a late request; or a row whose own request waits elsewhere, or has ended: perhaps
    because Slurm wants the node up.
    """
    if slurm.generation < asked.generation or not slurm.fresh:
        return _waits("no newer snapshot of Slurm has come")
    return _by_power(asked.node, slurm)


def is_expired_boot(command: PowerCommand, now: int) -> bool:
    """Whether it is a boot that slurmctld no longer waits for; `now` in ns since the epoch."""
    return command.kind is Kind.RESUME and command.expiry is not None and now > command.expiry


def judge_expired_boot(command: PowerCommand, slurm: SlurmView, now: int) -> Admission:
    """The verdict on a boot that by our clock slurmctld no longer waits for: by a newer, fresh snapshot.

    A node that was given back would register by it, and get jobs that the request which powers it off
    would end. By the hooks' clock, it may be in time.
    """
    if not is_expired_boot(command, now - int(slurm.ahead * 1e9)):
        return TAKE
    expiry = command.expiry or 0
    if slurm.time <= expiry or not slurm.fresh or not slurm.power:
        return _waits(
            "by our clock Slurm no longer waits for this boot, and no newer snapshot has come"
        )
    power = slurm.power.get(command.node)
    shown = f"Slurm's snapshot {slurm.generation} shows the node as {power}"
    if power in {Power.OFF, Power.POWERING_DOWN}:
        return End(Transition.SUPERSEDED, Cause(DISAGREES, shown))
    return _waits(f"{shown}, which is not clear") if power is Power.CHANGING else TAKE


def _by_power(node: str, slurm: SlurmView) -> Admission:
    if not slurm.power:
        return _waits(f"Slurm's snapshot {slurm.generation} names no node at all")
    power = slurm.power.get(node)
    if power in {Power.OFF, Power.POWERING_DOWN, None}:
        return TAKE
    shown = f"Slurm's snapshot {slurm.generation} shows the node as {power}"
    if power in WANTED:
        return End(Transition.SUPERSEDED, Cause(DISAGREES, shown))
    return _waits(f"{shown}, which is not clear")


def is_late(request: Pending, now: int) -> bool:
    """Whether Slurm may have taken the node back since; `now` in ns since the epoch."""
    command = request.command
    repairs = command.repair and command.desired is Desired.DOWN  # what a snapshot showed
    if command.kind is Kind.RESUME_FAIL or repairs:
        return True
    expiry = command.expiry if command.is_slurms_power_off else None
    return expiry is not None and (request.rested or now > expiry)


def is_given_up(request: Pending, slurm: SlurmView) -> bool:
    """Whether Slurm has powered the node off since it called for this boot."""
    command = request.command
    asked = command.kind is Kind.RESUME and command.expiry is not None
    newer = slurm.fresh and slurm.generation > command.generation
    return asked and newer and slurm.power.get(command.node) in {Power.OFF, Power.POWERING_DOWN}


def _waits(why: str) -> Cause:
    return Cause(UNCONFIRMED, why)
