"""Whether Slurm's request to power a node off may be acted upon, given its newest snapshot. Pure.

slurmctld does not wait for SuspendProgram: after SuspendTimeout it may resume the node, and the request
of that may be late, or lost with a store that was restored. A node that failed to resume may register
after all and run jobs, without any call of a program. So a late suspend, every resume-fail, and every
suspend that meets a store that no snapshot has confirmed, wait for what Slurm says itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.commands import Kind, PowerCommand
from schemas.events import Cause
from schemas.snapshot import Power

UNCONFIRMED = "unconfirmed"
DISAGREES = "slurm_disagrees"


@dataclass(frozen=True, slots=True)
class SlurmView:
    """What the store holds of Slurm.

    Attributes:
        generation: of the newest snapshot; 0 where there is none.
        power: by node.
        confirmed: whether it was taken after this worker began to use the store.
        fresh: whether it came so recently that it still counts.
    """

    generation: int
    power: Mapping[str, Power]
    confirmed: bool
    fresh: bool = True

    def has_registered(self, node: str, generation: int) -> bool:
        """Whether Slurm, asked after that generation, counts the node as running."""
        return self.generation >= generation and self.power.get(node) is Power.ON


@dataclass(frozen=True, slots=True)
class Passed:
    """It may be acted upon."""


@dataclass(frozen=True, slots=True)
class Waits:
    """It rests until a newer snapshot has come."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Overtaken:
    """It ends as superseded: Slurm wants the node up."""

    cause: Cause


def judge(command: PowerCommand, slurm: SlurmView, now: int) -> Passed | Waits | Overtaken:
    """The verdict on a request; `now` in ns since the epoch.

    An operator's suspend has no expiry, and Slurm knows nothing of it: it passes. A node that Slurm
    no longer knows can run no job: its server may be powered off.
    """
    if not is_guarded(command):
        return Passed()
    late = is_late(command, now)
    if slurm.generation < command.generation:
        if not late and slurm.confirmed:
            return Passed()
        why = "no newer snapshot of Slurm has come" if late else "no snapshot of Slurm has come yet"
        return _waits(why)
    if late and not slurm.fresh:
        return _waits(f"Slurm's snapshot {slurm.generation} is too old")
    return _by_power(command, slurm)


def _by_power(command: PowerCommand, slurm: SlurmView) -> Passed | Waits | Overtaken:
    if not slurm.power:
        return _waits(f"Slurm's snapshot {slurm.generation} names no node at all")
    power = slurm.power.get(command.node)
    if power in {Power.OFF, Power.POWERING_DOWN, None}:
        return Passed()
    shown = f"Slurm's snapshot {slurm.generation} shows the node as {power}"
    if power in {Power.ON, Power.POWERING_UP, Power.SET_DOWN}:
        return Overtaken(Cause(DISAGREES, shown))
    return _waits(f"{shown}, which is not clear")


def is_guarded(command: PowerCommand) -> bool:
    """Whether Slurm itself asked for the node to be powered off."""
    return command.kind is Kind.RESUME_FAIL or (
        command.kind is Kind.SUSPEND and command.expiry is not None
    )


def is_late(command: PowerCommand, now: int) -> bool:
    """Whether Slurm may have taken the node back since; `now` in ns since the epoch."""
    if command.kind is Kind.RESUME_FAIL:
        return True
    return is_guarded(command) and command.expiry is not None and now > command.expiry


def _waits(why: str) -> Waits:
    return Waits(Cause(UNCONFIRMED, why))
