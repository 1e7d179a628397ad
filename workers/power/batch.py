"""What one turn of the engine brings into the store, in one commit."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.events import CloudAction
from workers.power.node import PendingNode
from workers.power.steps import Finish
from workers.store.requests import RoundKey


@dataclass(slots=True)
class Batch:
    """Filled during a turn; what the commit did not take stays for the next.

    Attributes:
        actions: all actions so far of rounds that made another one.
        booted: nodes that a call has booted, and under which generation.
        unsettled: nodes where a call without an answer may still take effect.
        finished: nodes that have come as far as they will.
        released: nodes whose lease is to be given up.
        waited: seconds that rounds have waited so far.
    """

    actions: dict[RoundKey, tuple[CloudAction, ...]] = field(default_factory=dict)
    booted: dict[str, int] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    finished: dict[str, tuple[PendingNode, Finish]] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    waited: dict[RoundKey, float] = field(default_factory=dict)

    @property
    def touched(self) -> list[str]:
        """The nodes whose rows the commit changes."""
        return sorted({*self.booted, *self.unsettled, *self.finished, *self.released})

    def without_decisions(self) -> "Batch":
        """What was done, without what was decided: after the store was away, all is decided again."""
        return Batch(actions=self.actions, booted=self.booted, unsettled=self.unsettled)

    def note_call(self, node: PendingNode, key: RoundKey, generation: int, *, booted: bool) -> None:
        """A call of this round was answered."""
        self.actions[key] = node.actions.get(key, ())
        self.waited.pop(key, None)
        if booted:
            self.booted[node.name] = generation


def all_waited(nodes: Mapping[str, PendingNode], now: float) -> dict[RoundKey, float]:
    """How long the nodes' rounds have waited, in seconds; `now` in monotonic seconds."""
    return {node.key: now - node.patient_since for node in nodes.values()}
