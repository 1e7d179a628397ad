"""What the engine's turns work on: the pending nodes, what is due, and what is to be written."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf

from schemas.commands import Desired
from workers.power.node import PendingNode
from workers.power.steps import Finish, WaitFor
from workers.store.power_store import Batch
from workers.store.requests import RoundKey

_AT_ONCE = 200  # nodes decided about in one turn: it takes a fraction of a second


class Agenda:
    """Which nodes to decide about now; all others cost nothing meanwhile. Times are monotonic.

    Attributes:
        touched: nodes to decide about now.
        next_at: when to decide about others: 0 while some had to wait for a turn, infinity for none.
        for_whole: by cloud, those that wait for a listing of all its servers.
        behind: nodes whose newest request came out of a backlog: a newer one may be in it.
    """

    def __init__(self) -> None:
        self.touched: set[str] = set()
        self.behind: set[str] = set()
        self.next_at = inf
        # those that had to wait in the last turn; and a heap of them, with some that wait no longer
        self._waiting: set[str] = set()
        self._order: list[tuple[bool, str]] = []
        # a heap of the moments when others are due by time alone; some are out of date
        self._due: list[tuple[float, str]] = []
        self._until: dict[str, float] = {}
        self._for_listing: defaultdict[str, set[str]] = defaultdict(set)
        self.for_whole: defaultdict[str, set[str]] = defaultdict(set)

    def touch(self, names: Iterable[str]) -> None:
        """Something about these nodes has changed."""
        self.touched.update(names)

    def caught_up(self) -> None:
        """The whole backlog has come."""
        self.touched |= self.behind
        self.behind.clear()

    def wait(self, name: str, cloud: str, step: WaitFor) -> None:
        """Do not decide about this node before that."""
        if step.listing:
            (self.for_whole if step.whole else self._for_listing)[cloud].add(name)
        if step.until is not None:
            self._until[name] = step.until
            heapq.heappush(self._due, (step.until, name))
            self.next_at = min(self.next_at, step.until)

    def listed(self, cloud: str, *, whole: bool) -> None:
        """A listing of the cloud has come."""
        self.touched |= self._for_listing.pop(cloud, set())
        if whole:
            self.touched |= self.for_whole.pop(cloud, set())

    def take(self, now: float, first: Callable[[str], bool] = lambda _name: False) -> list[str]:
        """The nodes to decide about now: not too many at once, and those that are `first` before others."""
        while self._due and self._due[0][0] <= now:
            until, name = heapq.heappop(self._due)
            if self._until.get(name) == until:
                del self._until[name]
                self.touched.add(name)
        self.touched -= self.behind
        for name in self.touched:  # also one that waits: it may be `first` by now
            heapq.heappush(self._order, (not first(name), name))
        self._waiting |= self.touched
        self.touched.clear()
        taken: list[str] = []
        while self._order and len(taken) < _AT_ONCE:
            _, name = heapq.heappop(self._order)
            if name in self._waiting:
                self._waiting.remove(name)
                self._until.pop(name, None)
                taken.append(name)
        self.next_at = 0.0 if self._waiting else self._due[0][0] if self._due else inf
        return taken


@dataclass(slots=True)
class EngineState:
    """The pending nodes, which of them to decide about, and what the next commit writes.

    Attributes:
        nodes: by name. New ones come by `put`, and go by `drop` and `release`.
        by_cloud: their names by cloud.
        agenda: the nodes to decide about.
        batch: what was done in this turn.
        finished: nodes that have come as far as they will, and how.
    """

    nodes: dict[str, PendingNode] = field(default_factory=dict)
    by_cloud: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    agenda: Agenda = field(default_factory=Agenda)
    batch: Batch = field(default_factory=Batch)
    finished: dict[str, tuple[PendingNode, Finish]] = field(default_factory=dict)

    def put(self, node: PendingNode, *, touch: bool = False) -> None:
        """Keep a node, new or changed; with `touch`, decide about it."""
        self.by_cloud[node.group.cloud].add(node.name)
        self.nodes[node.name] = node
        if touch:
            self.agenda.touched.add(node.name)

    def drop(self, name: str) -> None:
        """Forget a node."""
        node = self.nodes.pop(name, None)
        if node is not None:
            self.by_cloud[node.group.cloud].discard(name)

    def release(self, name: str) -> None:
        """Forget a node, and give its lease up."""
        self.drop(name)
        self.finished.pop(name, None)
        self.batch.released.add(name)

    def on_cloud(self, cloud: str) -> list[PendingNode]:
        """The nodes on a cloud."""
        return [self.nodes[name] for name in self.by_cloud[cloud]]

    def touch(self, names: Iterable[str]) -> None:
        """Decide about these nodes, as far as they are pending."""
        self.agenda.touched |= self.nodes.keys() & set(names)

    def is_wanted_up(self, name: str) -> bool:
        """Whether a job may wait for this node."""
        node = self.nodes.get(name)
        return node is not None and node.row.desired is Desired.UP

    def waited(self, now: float) -> dict[RoundKey, float]:
        """How long the nodes' rounds have waited, in seconds; `now` in monotonic seconds."""
        return {node.key: now - node.patient_since for node in self.nodes.values()}

    def forget(self) -> None:
        """Forget the nodes after the store was away: their requests are taken up again.

        What was done stays known, what was decided does not; and a call under way is waited for, or
        what is listed before its answer would count although it may still change the node.
        """
        calling = [node for node in self.nodes.values() if node.is_calling]
        done, self.batch, self.agenda = self.batch, Batch(), Agenda()
        self.batch.actions, self.batch.booted = done.actions, done.booted
        self.batch.unsettled, self.batch.released = done.unsettled, done.released
        for forgotten in (self.nodes, self.by_cloud, self.finished):
            forgotten.clear()
        for node in calling:
            self.put(replace(node, requests=()))
