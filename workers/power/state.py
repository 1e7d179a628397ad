"""What the engine's turns work on."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from workers.power.agenda import Agenda
from workers.power.batch import Batch
from workers.power.node import PendingNode


@dataclass(slots=True)
class EngineState:
    """The pending nodes, which of them to decide about, and what the next commit writes.

    Attributes:
        nodes: by name. Write through `put` and `drop`.
        agenda: the nodes to decide about.
        batch: filled during a turn.
    """

    nodes: dict[str, PendingNode] = field(default_factory=dict)
    agenda: Agenda = field(default_factory=Agenda)
    batch: Batch = field(default_factory=Batch)
    _by_cloud: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def put(self, node: PendingNode) -> None:
        """Keep a node, new or changed."""
        if node.name not in self.nodes:
            self._by_cloud[node.group.cloud].add(node.name)
        self.nodes[node.name] = node

    def drop(self, name: str) -> None:
        """Forget a node."""
        node = self.nodes.pop(name, None)
        if node is not None:
            self._by_cloud[node.group.cloud].discard(name)

    def release(self, name: str) -> None:
        """Forget a node, and give its lease up."""
        self.drop(name)
        self.batch.finished.pop(name, None)
        self.batch.released.add(name)

    def on_cloud(self, cloud: str) -> list[PendingNode]:
        """The nodes on a cloud."""
        return [self.nodes[name] for name in self._by_cloud[cloud]]

    def waits_for(self, cloud: str) -> int:
        """How many nodes are on a cloud."""
        return len(self._by_cloud[cloud])

    def touch_cloud(self, cloud: str) -> None:
        """Decide about all nodes of a cloud."""
        self.agenda.touch(self._by_cloud[cloud])

    def touch(self, names: Iterable[str]) -> None:
        """Decide about these nodes, as far as they are pending."""
        self.agenda.touch(name for name in names if name in self.nodes)

    def forget(self) -> None:
        """Forget the nodes: their requests are taken up again.

        What was done stays known; and a call under way is waited for, or what is listed before its
        answer would count although it may still change the node.
        """
        calling = [node for node in self.nodes.values() if node.is_calling]
        self.nodes.clear()
        self._by_cloud.clear()
        self.agenda = Agenda()
        self.batch = self.batch.without_decisions()
        for node in calling:
            self.put(node.without_requests())
