"""Sends updates to slurmctld, equal updates of many nodes at once."""

from collections import defaultdict
from collections.abc import Sequence

import structlog

from workers.slurm.scontrol import Slurm
from workers.slurm.updates import SlurmUpdate, UpdateKind


def apply_updates(slurm: Slurm, updates: Sequence[SlurmUpdate]) -> frozenset[str]:
    """Update Slurm; a repetition does no harm.

    Returns:
        The nodes whose update Slurm refused; the log says why.

    Raises:
        SlurmAwayError: slurmctld does not answer; some nodes may have been updated.
    """
    equal: dict[tuple[UpdateKind, str], list[str]] = defaultdict(list)
    addresses: dict[str, tuple[str, str]] = {}
    for update in updates:
        if update.kind is UpdateKind.ADDRESS:
            addresses[update.node] = update.address, update.hostname
        elif update.kind in _ARGUMENTS:
            equal[update.kind, update.reason].append(update.node)
    refused = slurm.set_addresses(addresses) if addresses else frozenset()
    for (kind, reason), names in equal.items():
        for arguments in _ARGUMENTS[kind]:
            filled = [argument.replace("{}", reason) for argument in arguments]
            refused |= slurm.update_nodes([n for n in names if n not in refused], *filled)
    _log(updates, refused)
    return refused


# Why these: see decide.py. The reason belongs to the first call: without one, Slurm sets an empty one.
_ARGUMENTS = {
    UpdateKind.TAKE_OUT: (("State=DOWN", "Reason={}"), ("State=POWER_DOWN",)),
    UpdateKind.GIVE_BACK: (("State=POWER_DOWN_FORCE", "Reason={}"),),
    UpdateKind.EXPLAIN: (("Reason={}",),),
    UpdateKind.RETURN: (("State=RESUME",),),
}


def _log(updates: Sequence[SlurmUpdate], refused: frozenset[str]) -> None:
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
