"""Sends updates to slurmctld, equal updates of many nodes at once, each checked right before."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import structlog

from workers.slurm.scontrol import Slurm, StillDue
from workers.slurm.updates import SlurmUpdate, UpdateKind

# RESUME would set NOT_RESPONDING on a node that is powered down: after the next `scontrol reconfigure`
# or restart of slurmctld, no job gets such a node (measured on 22.05.8).
AVAILABLE = "State=IDLE"
# How often the decision about a node may change before it waits for the next time.
_ROUNDS = 3


# Reads nodes in Slurm, then in the store, and decides about each of them.
Decide: TypeAlias = Callable[[Collection[str]], Mapping[str, SlurmUpdate]]


@dataclass(frozen=True, slots=True)
class Applied:
    """What was decided for each node in the end, and the nodes whose update Slurm refused."""

    updates: Mapping[str, SlurmUpdate]
    refused: frozenset[str]


def apply_updates(slurm: Slurm, names: Collection[str], decide: Decide) -> Applied:
    """Decide about nodes, and update Slurm; a repetition does no harm. The log says what was refused.

    Each node is read and decided again right before each command that updates it. If the decision has
    changed, the node is not part of the command; its new decision comes after the other nodes.

    Raises:
        SlurmAwayError: slurmctld does not answer; some nodes may have been updated.
    """
    updates = dict(decide(names))
    left, refused = set(names), frozenset[str]()
    for _ in range(_ROUNDS):
        changed: set[str] = set()
        still_due = partial(_still_due, updates, decide, changed)
        refused |= _send(slurm, [updates[node] for node in sorted(left)], still_due, changed)
        if not changed:
            break
        updates |= decide(changed)
        left = changed
    else:
        updates |= {n: SlurmUpdate(UpdateKind.WAIT, n, "it keeps changing") for n in left}
    _log(updates.values(), refused)
    return Applied(updates, refused)


def _still_due(
    updates: Mapping[str, SlurmUpdate], decide: Decide, changed: set[str], names: Collection[str]
) -> list[str]:
    again = decide(names)
    due = [node for node in names if again[node].content == updates[node].content]
    changed.update(set(names).difference(due))
    return due


def _send(
    slurm: Slurm, updates: Sequence[SlurmUpdate], still_due: StillDue, changed: Collection[str]
) -> frozenset[str]:
    """Send each group of equal updates; `changed` is what `still_due` left out. Returns the refused."""
    equal: dict[tuple[UpdateKind, str], list[str]] = defaultdict(list)
    addresses: dict[str, tuple[str, str]] = {}
    for update in updates:
        if update.kind is UpdateKind.ADDRESS:
            addresses[update.node] = update.address, update.hostname
        elif update.kind in _ARGUMENTS:
            equal[update.kind, update.reason].append(update.node)
    refused = slurm.set_addresses(addresses, still_due) if addresses else frozenset()
    for (kind, reason), names in equal.items():
        for arguments in _ARGUMENTS[kind]:
            filled = [argument.replace("{}", reason) for argument in arguments]
            open_ = [node for node in names if node not in refused and node not in changed]
            refused |= slurm.update_nodes(open_, *filled, still_due=still_due)
    return refused


# Why these: see decide.py. The reason belongs to the first call: without one, Slurm sets an empty one.
_ARGUMENTS = {
    UpdateKind.TAKE_OUT: (("State=DOWN", "Reason={}"), ("State=POWER_DOWN",)),
    UpdateKind.GIVE_BACK: (("State=POWER_DOWN_FORCE", "Reason={}"),),
    UpdateKind.EXPLAIN: (("Reason={}",),),
    UpdateKind.RETURN: ((AVAILABLE,),),
    UpdateKind.POWER_DOWN: (("State=POWER_DOWN",),),
}


def _log(updates: Iterable[SlurmUpdate], refused: frozenset[str]) -> None:
    log = structlog.get_logger()
    for update in updates:
        write = log.debug if update.kind in {UpdateKind.NOTHING, UpdateKind.WAIT} else log.info
        write(
            "slurm_updated",
            node=update.node,
            update=str(update.kind),
            why=update.why,
            reason=update.reason or None,
            refused=update.node in refused,
        )
