"""Whether a hook's request to put a node out may be acted upon, given Slurm's newest snapshot. Pure.

slurmctld does not wait for SuspendProgram: after SuspendTimeout it may resume the node, and the
hook of that may be late, or lost with a store that was restored. So what is past its time, or meets
a store that no snapshot has vouched for, waits for Slurm's own word.
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
    """What the store knows of Slurm.

    Attributes:
        generation: of the newest snapshot; 0 where there is none.
        power: by node.
        vouched: whether it was taken after this worker began to use the store.
    """

    generation: int
    power: Mapping[str, Power]
    vouched: bool


@dataclass(frozen=True, slots=True)
class Passed:
    """It may be acted upon."""


@dataclass(frozen=True, slots=True)
class Waits:
    """It rests until Slurm has said more."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Overtaken:
    """It ends as superseded: Slurm wants the node up."""

    cause: Cause


def judge(command: PowerCommand, view: SlurmView, now: int) -> Passed | Waits | Overtaken:
    """What becomes of a request; `now` in ns since the epoch.

    An operator's own suspend has no expiry, and Slurm knows nothing of it: it passes.
    """
    if not is_gated(command):
        return Passed()
    if view.generation < command.generation:
        return _without_newer(command, view, now)
    power = view.power.get(command.node, Power.UNKNOWN)
    if power in {Power.OFF, Power.POWERING_DOWN}:
        return Passed()
    said = f"Slurm's snapshot {view.generation} shows it {power}"
    if power in {Power.ON, Power.POWERING_UP, Power.SET_DOWN}:
        return Overtaken(Cause(DISAGREES, said))
    return Waits(Cause(UNCONFIRMED, f"{said}, which says nothing for sure"))


def is_gated(command: PowerCommand) -> bool:
    """Whether it comes of Slurm's wish to put the node out."""
    return command.kind is Kind.RESUME_FAIL or (
        command.kind is Kind.SUSPEND and command.expiry is not None
    )


def _without_newer(command: PowerCommand, view: SlurmView, now: int) -> Passed | Waits:
    if command.expiry is not None and now > command.expiry:
        return Waits(Cause(UNCONFIRMED, "it is past its expiry, and no newer snapshot has come"))
    if not view.vouched:
        return Waits(Cause(UNCONFIRMED, "no snapshot has come since the store was opened"))
    return Passed()
