"""The power worker's transactions: each is one commit for many nodes. Every method is safe to repeat."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import sqlalchemy as sa

from schemas.commands import PowerCommand
from schemas.events import CloudAction, RequestEvent
from workers.store import desired_state, generations, group_images
from workers.store import requests as rounds
from workers.store.database import reading
from workers.store.generations import ClockLimit
from workers.store.group_images import GroupImage
from workers.store.lease_owner import Lease
from workers.store.nodes import DesiredRow, NodeTable
from workers.store.requests import Round, RoundKey, RoundOutcome

# An event, and its JSON as the store holds it.
StoredEvent: TypeAlias = tuple[RequestEvent, bytes]


class Asked(Protocol):
    """A request, as far as the store needs it."""

    @property
    def key(self) -> RoundKey:
        """Its id and round."""

    @property
    def command(self) -> PowerCommand:
        """What it asks for."""


@dataclass(frozen=True, slots=True)
class OtherBoot:
    """A node that a call has booted, `age` seconds ago; `is_over` once it has completed."""

    node: str
    age: float
    is_over: bool


@dataclass(frozen=True, slots=True)
class NodeEnd:
    """A node has come as far as it will.

    Attributes:
        generation: of the row by which that was decided.
        events: the terminal events of its requests.
        observed: its server's id, if it has one, and status; None where nothing was tried.
        reached: whether it is as the row wants it.
        image: its group's new image, if its round ends as the events say.
    """

    generation: int
    events: tuple[RequestEvent, ...]
    observed: tuple[str | None, str] | None
    reached: bool
    image: GroupImage | None = None


@dataclass(slots=True)
class Batch:
    """What one turn of the engine writes; what a commit did not take stays for the next.

    Attributes:
        actions: all actions so far of rounds that made another one.
        booted: nodes that a call has booted, and under which generation; 0 where it may have.
        unsettled: nodes where a call without an answer may still take effect.
        finished: nodes that have come as far as they will.
        released: nodes whose lease is to be given up.
        waited: seconds that rounds have waited so far.
    """

    actions: dict[RoundKey, tuple[CloudAction, ...]] = field(default_factory=dict)
    booted: dict[str, int] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    finished: dict[str, NodeEnd] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    waited: dict[RoundKey, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What accepting has shown.

    Attributes:
        rows: the nodes' rows.
        ended: the outcomes of rounds that had ended before: their requests were delivered again.
        actions: the actions made earlier for these requests' rounds.
        waited: seconds that the rounds had waited before.
        ends: the terminal events that the store holds for the rounds that end at once, in their order.
    """

    rows: Mapping[str, DesiredRow]
    ended: Mapping[RoundKey, RoundOutcome]
    actions: Mapping[RoundKey, tuple[CloudAction, ...]]
    waited: Mapping[RoundKey, float]
    ends: Sequence[StoredEvent]


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit has shown.

    Attributes:
        ended: by node, the terminal events that the store holds for its requests.
        moved: the rows of finished nodes that moved on or are no longer ours: for them, nothing was
            written.
    """

    ended: Mapping[str, Sequence[StoredEvent]]
    moved: Mapping[str, DesiredRow]


class PowerStore:
    """The state store, as the engine uses it.

    `lease` is how this worker owns nodes.
    """

    def __init__(self, store: sa.Engine, cluster: str, lease: Lease) -> None:
        self._store = store
        self._cluster = cluster
        self._nodes = NodeTable(store, cluster, lease)
        self.owner = lease.owner.name

    def accept(
        self, requests: Sequence[Asked], ends: Sequence[RequestEvent], now: int, ahead: int = 0
    ) -> Accepted:
        """Open the requests' rounds, raise desired states, take leases; end what ends at once.

        `now` in ns since the epoch, by this host's clock, which is `ahead` of the hooks' as far as known.
        """
        cluster, asked = self._cluster, {one.key: one.command for one in requests}
        opened = [Round(*key, one.node, one.generation, now) for key, one in asked.items()]
        with self._store.begin() as connection:
            rounds.open_rounds(connection, cluster, opened)
            ended = rounds.outcomes(connection, cluster, list(asked))
            fresh = {key: command for key, command in asked.items() if key not in ended}
            rows = self._nodes.accept(connection, list(fresh.values()), now - ahead)
            ids = {row.request_id for row in rows.values()} | {key[0] for key in fresh}
            progress = rounds.progress(connection, cluster, ids | {end.request_id for end in ends})
            fixed: Sequence[StoredEvent] = []
            if ends:  # the calls of a round that is delivered again belong to its outcome
                made = [progress.get((end.request_id, end.round), ((), 0.0))[0] for end in ends]
                told = [replace(end, actions=done) for end, done in zip(ends, made, strict=True)]
                fixed = rounds.fix_outcomes(connection, cluster, told)
        actions = {key: made for key, (made, _) in progress.items() if made}
        return Accepted(rows, ended, actions, {key: w for key, (_, w) in progress.items()}, fixed)

    def note_power_offs(self, commands: Sequence[PowerCommand]) -> None:
        """Note Slurm's requests to power nodes off that are not acted upon now."""
        with self._store.begin() as connection:
            self._nodes.note_power_offs(connection, commands)

    def read(self, names: Sequence[str]) -> Mapping[str, DesiredRow]:
        """The rows as they are now."""
        with reading(self._store) as connection:
            return self._nodes.read(connection, names)

    def read_one(self, node: str) -> DesiredRow:
        """A node's row as it is now."""
        return self.read([node])[node]

    def changed(self, known: Mapping[str, int]) -> list[str]:
        """The nodes, of those with these generations, that another process has touched."""
        with reading(self._store) as connection:
            return self._nodes.changed(connection, known)

    def clock_limit(self, ahead: float, now: int) -> ClockLimit:
        """Up to where generations are plausible: `ahead` seconds above the time or the hooks' clock."""
        with reading(self._store) as connection:
            return generations.clock_limit(connection, self._cluster, ahead, now)

    def boots_elsewhere(self) -> list[OtherBoot]:
        """The boots that other workers wait for, or that wait in a retry tier, and those that are over."""
        query = desired_state.boots(self._store.dialect.name, self._cluster, self.owner)
        with reading(self._store) as connection:
            return [
                OtherBoot(node, age, bool(is_over))
                for node, age, is_over in connection.execute(query)
            ]

    def image_of(self, group: str) -> str | None:
        """The id of the image to create a group's servers from, instead of its template's."""
        with reading(self._store) as connection:
            found = group_images.by_group(connection, self._cluster).get(group)
        return None if found is None else found.image_id

    def renew(self, names: Iterable[str], waited: Mapping[RoundKey, float]) -> None:
        """Extend our leases of these nodes, and keep how long rounds have waited, in seconds.

        A lease of another node is one that we failed to give up: it ends by itself.
        """
        with self._store.begin() as connection:
            self._nodes.renew(connection, names)
            rounds.keep_waited(connection, self._cluster, self.owner, waited)

    def commit(self, batch: Batch, now: int) -> Committed:
        """Write what a turn has brought; `now` in ns since the epoch.

        A finished node ends only if its row is as it was decided by: same generation, our lease.
        """
        cluster, table = self._cluster, self._nodes
        touched = sorted({*batch.booted, *batch.unsettled, *batch.finished, *batch.released})
        with self._store.begin() as connection:
            # nodes' rows at once and first: two workers must not wait for each other in a circle
            rows = table.lock(connection, touched)
            stays, moved = {}, {}
            for name, end in batch.finished.items():
                row = rows[name]
                if (row.generation, row.lease_owner) == (end.generation, self.owner):
                    stays[name] = end
                else:
                    moved[name] = row
            rounds.record_actions(connection, cluster, self.owner, batch.actions)
            rounds.keep_waited(connection, cluster, self.owner, batch.waited)
            ended = self._end(connection, stays, now) if stays else {}
            table.mark_booted(connection, batch.booted)
            table.mark_unsettled(connection, batch.unsettled & rows.keys())
            table.release(connection, {*stays, *batch.released} & rows.keys())
        return Committed(ended, moved)

    def _end(
        self, connection: sa.Connection, ends: Mapping[str, NodeEnd], now: int
    ) -> dict[str, list[StoredEvent]]:
        told = [event for end in ends.values() for event in end.events]
        fixed = iter(rounds.fix_outcomes(connection, self._cluster, told))
        stored = {name: [next(fixed) for _ in end.events] for name, end in ends.items()}
        images = [
            end.image
            for name, end in ends.items()
            for mine, (event, _) in zip(end.events, stored[name], strict=True)
            if end.image is not None and event is mine and mine.image_id is not None
        ]
        if images:
            group_images.keep(connection, self._cluster, images)
        seen = {name: end.observed for name, end in ends.items() if end.observed}
        reached = {name: end.generation for name, end in ends.items() if end.reached}
        self._nodes.observe(connection, seen, now)
        self._nodes.mark_reached(connection, reached)
        return stored
