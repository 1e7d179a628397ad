"""Says actions to Slurm, the same ones of many nodes at once."""

from collections import defaultdict
from collections.abc import Sequence

import structlog

from workers.slurm.decide import SlurmUpdate, UpdateKind
from workers.slurm.scontrol import Slurm


def tell(slurm: Slurm, actions: Sequence[SlurmUpdate]) -> frozenset[str]:
    """Tell Slurm; repeating it is harmless.

    Returns:
        The nodes of which Slurm would not hear it; the log says why.

    Raises:
        SlurmAwayError: slurmctld does not answer; some may have been told.
    """
    alike: dict[tuple[UpdateKind, str], list[str]] = defaultdict(list)
    places: dict[str, tuple[str, str]] = {}
    for action in actions:
        if action.step is UpdateKind.ADDRESS:
            places[action.node] = action.address, action.hostname
        elif action.step in _WORDS:
            alike[action.step, action.reason].append(action.node)
    refused = slurm.set_addresses(places) if places else frozenset()
    for (step, reason), names in alike.items():
        no: frozenset[str] = frozenset()
        for words in _WORDS[step]:
            said = [word.replace("{}", reason) for word in words]
            no |= slurm.update_nodes([name for name in names if name not in no], *said)
        refused |= no
    _log(actions, refused)
    return refused


# facts behind it: decide.py. The reason comes with the first word, or an empty one is kept.
_WORDS = {
    UpdateKind.TAKE_OUT: (("State=DOWN", "Reason={}"), ("State=POWER_DOWN",)),
    UpdateKind.GIVE_BACK: (("State=POWER_DOWN_FORCE", "Reason={}"),),
    UpdateKind.EXPLAIN: (("Reason={}",),),
    UpdateKind.RETURN: (("State=RESUME",),),
}


def _log(actions: Sequence[SlurmUpdate], refused: frozenset[str]) -> None:
    log = structlog.get_logger()
    for action in actions:
        say = log.debug if action.step in {UpdateKind.NOTHING, UpdateKind.WAIT} else log.info
        say(
            "slurm_told",
            node=action.node,
            step=str(action.step),
            why=action.why,
            reason=action.reason or None,
            refused=action.node in refused,
        )
