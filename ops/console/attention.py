"""The nodes that are on hold, out of service in Slurm, or not as Slurm wants. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ops.cli.terminal import duration, moment
from schemas.snapshot import SlurmNode
from workers.resync.drift_memory import DriftMemory
from workers.slurm.node_memory import NodeMemory
from workers.store.holds import Hold

_OUT = frozenset({"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING"})


@dataclass(frozen=True, slots=True)
class NodeSet:
    """Nodes with the same words: why, and since or until when. The words are untrusted."""

    names: tuple[str, ...]
    words: str
    more: str


@dataclass(frozen=True, slots=True)
class NodeConditions:
    """What is known of nodes; `now` and all times are ns since the epoch."""

    now: int
    holds: Mapping[str, Hold] = field(default_factory=dict)
    slurm: Sequence[SlurmNode] = ()
    returning: Mapping[str, NodeMemory] = field(default_factory=dict)
    drifts: Mapping[str, DriftMemory] = field(default_factory=dict)

    def sections(self, ours: Collection[str]) -> dict[str, list[NodeSet]]:
        """The sections of the page, by title; `ours` are the nodes of the configuration."""
        return {
            "On hold": _sets(
                (hold.node, hold.reason, f"by {hold.by}, since {moment(hold.since)}")
                for hold in self.holds.values()
            ),
            "Out of service in Slurm": _sets(self._out_of_service(ours)),
            "Drift from what Slurm wants": _sets(
                (one.subject, str(one.drift), self._repairs(one)) for one in self.drifts.values()
            ),
        }

    def _out_of_service(self, ours: Collection[str]) -> Iterator[tuple[str, str, str]]:
        shown = {node.node for node in self.slurm if is_out_of_service(node.state)}
        for node in self.slurm:
            if node.node in ours and node.node in shown:
                memory = self.returning.get(node.node)
                back = f"returns in {self._until(memory.due_at)}" if memory else "until resumed"
                yield node.node, f"{node.state}: {node.reason or 'no reason'}", back
        for name, memory in self.returning.items():
            if name not in shown:  # the last snapshot is older
                yield name, memory.reason, f"returns in {self._until(memory.due_at)}"

    def _repairs(self, one: DriftMemory) -> str:
        repairs = f", {one.repairs} repairs requested" if one.repairs else ""
        return f"for {duration(max(0, self.now - one.since))}{repairs}"

    def _until(self, due_at: int) -> str:
        return duration(max(0, due_at - self.now))


def is_out_of_service(state: str) -> bool:
    """Whether Slurm starts no job on a node in this state, as scontrol prints it."""
    return not _OUT.isdisjoint(state.split("+"))


def _sets(rows: Iterable[tuple[str, str, str]]) -> list[NodeSet]:
    """The nodes with the same words together, most nodes first."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, words, more in rows:
        found.setdefault((words, more), []).append(name)
    sets = [NodeSet(tuple(names), *key) for key, names in found.items()]
    return sorted(sets, key=lambda one: (-len(one.names), one.names))
