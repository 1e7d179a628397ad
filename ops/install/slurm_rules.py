"""What slurm.conf must not say where Lamplighter powers nodes: for `init` and for `doctor`. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.numbers import whole_number
from workers.slurm.prolog_release import GRACE

# Slurm's number for a time that is not set, and for none at all (NO_VAL16, INFINITE16).
_NEVER = 65_533
# The version whose salloc waits 3 s for any PrologSlurmctld, also on nodes that are up.
SLOW_SALLOC = (22, 5)
# Seconds that a prolog's limit is to be longer than ResumeTimeout: above what lamplighter-prolog takes.
_MORE = 60


@dataclass(frozen=True, slots=True)
class Rule:
    """A parameter of slurm.conf whose value can be wrong.

    Attributes:
        key: of the finding.
        parameter: its name.
        why: what a wrong value does.
        better: from its value, or None if slurm.conf does not set it, what to write instead: None if
            the value is right, empty if the parameter must go.
    """

    key: str
    parameter: str
    why: str
    better: Callable[[str | None], str | None]

    def remedy(self, better: str) -> str:
        """The line for slurm.conf."""
        if better:
            return f"{self.parameter}={better} in slurm.conf"
        return f"remove {self.parameter} from slurm.conf"


def _without(word: str) -> Callable[[str | None], str | None]:
    def better(value: str | None) -> str | None:
        words = (value or "").split(",")
        left = [one for one in words if one.strip().lower() != word]
        return None if left == words else ",".join(left)

    return better


def _returns(value: str | None) -> str | None:
    # Slurm's default is 0
    return "2" if (value or "0").startswith("0") else None


_RULES = (
    Rule(
        "idle_on_node_suspend",
        "SlurmctldParameters",
        "SlurmctldParameters has idle_on_node_suspend: a failed node returns to service at once",
        _without("idle_on_node_suspend"),
    ),
    Rule(
        "return_to_service",
        "ReturnToService",
        "ReturnToService is 0: a node that once did not answer stays down after its next boot",
        _returns,
    ),
    Rule(
        "suspend_exc_nodes",
        "SuspendExcStates",
        "SuspendExcStates has CLOUD: all of Lamplighter's nodes stay on",
        _without("cloud"),
    ),
)
# PrologEpilogTimeout counts where Slurm has no PrologTimeout, or it is not set.
_LIMITS = ("PrologTimeout", "PrologEpilogTimeout")


def rules(resume_timeout: int, *, prolog: bool) -> tuple[Rule, ...]:
    """All rules.

    `resume_timeout` is the longest ResumeTimeout; `prolog`: whether PrologSlurmctld is
    lamplighter-prolog, or calls it.
    """
    if not prolog:
        return _RULES

    def lasts(value: str | None) -> str | None:
        limit = whole_number((value or "").removesuffix(" sec"))
        if limit is None or not limit <= resume_timeout + GRACE < _NEVER:
            return None
        return str(resume_timeout + _MORE)

    why = (
        " ends lamplighter-prolog while it waits for nodes: Slurm requeues the job, again and again"
    )
    limits = (Rule("prolog_timeout", one, f"{one}{why}", lasts) for one in _LIMITS)
    return (*_RULES, *limits)
