"""What slurm.conf must not say where Lamplighter powers nodes: for `init` and for `doctor`. Pure."""

from collections.abc import Callable
from dataclasses import dataclass


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


RULES = (
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
