"""A broken promise, and the names of the promises."""

from dataclasses import dataclass
from datetime import UTC, datetime

LOST, DOUBLED, ENDED_JOB = "lost request", "doubled request", "job ended by us"
SECOND, LEAKED, WRONG = "second server", "leaked server", "wrong final state"
INVENTED, OPEN, UNOPENED = "invented request", "open round", "round without a beginning"
SILENT = "task that fell silent without a cause"
REFUSED, UNTIMELY = "hook that failed, or hung", "superseded by nothing"
LETTER, FAILED, OUTCOME = "dead letter", "failed without a permanent no", "outcome not in the cloud"
UNASKED, UNWANTED, UNENDED = "powered off unasked", "powered on unasked", "job without an end"
EVIDENCE, AUDIT, QUEUE = "not enough to judge by", "audit", "queue"
TRACEBACK, MEMORY, UNREST = "traceback", "memory", "not at rest"
# Slurm's own, not broken promises: shown, and counted apart.
FORGOTTEN = "job ended by what slurmctld forgot"
SLURM_LOST = "job that Slurm itself lost"
SLURMS_OWN = frozenset({FORGOTTEN, SLURM_LOST})
# Seconds: slurmctld saves its state at most so long after a change; killed meanwhile, it has forgotten it.
UNSAVED = 5.0


@dataclass(frozen=True)
class Violation:
    """A broken promise; `times` are seconds since the epoch."""

    promise: str
    node: str
    what: str
    times: tuple[float, ...] = ()

    def __str__(self) -> str:
        times = ", ".join(
            datetime.fromtimestamp(t, UTC).strftime("%H:%M:%S.%f")[:-3] for t in self.times
        )
        return " | ".join(word for word in (self.promise, self.node, self.what, times) if word)
