"""What becomes of a request that has just arrived: taken, parked, or ended at once. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from schemas.events import Cause, Transition
from workers.broker.topology import RETRY_TIERS
from workers.power.intake import Pending
from workers.power.suspend_guard import Overtaken, SlurmView, Waits, judge

FIRST_TIER, LATER_TIER = list(RETRY_TIERS)[:2]
# So many times in the first tier, then in the next: about a minute of the first.
_SOON = 12
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Take:
    """Raise the node's desired state, and reconcile the node."""


@dataclass(frozen=True, slots=True)
class Park:
    """Let it rest in this retry tier with its attempts unchanged."""

    cause: Cause
    tier: str


@dataclass(frozen=True, slots=True)
class End:
    """End its round at once; with `alarm`, operators must know."""

    transition: Transition
    cause: Cause
    alarm: bool = False


Admission: TypeAlias = Take | Park | End
TAKE = Take()


def admit(
    request: Pending,
    nodes: Mapping[str, str],
    slurm: SlurmView | None,
    clock_ahead: float,
    now: int,
) -> Admission:
    """The admission of a request.

    Args:
        request: the request.
        nodes: each configured node's group.
        slurm: what Slurm's newest snapshot says; None where snapshots do not count.
        clock_ahead: seconds that a generation may lie in the future.
        now: ns since the epoch.
    """
    command = request.command
    ahead = (command.generation - now) / _NS
    if ahead > clock_ahead:
        cause = Cause(
            "implausible_generation",
            f"generation {command.generation} lies {ahead:.0f} s ahead; correct the clock of "
            f"{command.origin}, then run: lamplighter clock reset",
        )
        return End(Transition.FAILED, cause, alarm=True)
    if command.node not in nodes:
        cause = Cause(
            "unknown_node",
            f"{command.node} is in no group of lamplighter.toml; add it, then replay",
        )
        return End(Transition.FAILED, cause, alarm=True)
    if slurm is None:
        return TAKE
    verdict = judge(command, slurm, now)
    if isinstance(verdict, Overtaken):
        return End(Transition.SUPERSEDED, verdict.cause)
    if isinstance(verdict, Waits):
        return Park(verdict.cause, FIRST_TIER if request.history.parked < _SOON else LATER_TIER)
    return TAKE
