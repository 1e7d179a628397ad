"""The engine's transactions: each is one commit for many nodes. Every method is safe to repeat."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import sqlalchemy as sa

from schemas.events import CloudAction, RequestEvent, Transition
from workers.power import desired_state, observations
from workers.power.batch import Batch
from workers.power.intake import Pending
from workers.power.node import PendingNode
from workers.power.node_row import DesiredRow, Lease
from workers.power.observations import Observation
from workers.power.outcomes import observed_status, outcomes
from workers.power.steps import Finish
from workers.store import generations, group_images
from workers.store import requests as rounds
from workers.store.database import reading
from workers.store.group_images import GroupImage
from workers.store.requests import Round, RoundKey, RoundOutcome

RequestEnd: TypeAlias = tuple[Pending, RequestEvent]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What accepting has shown.

    Attributes:
        rows: the nodes' rows.
        ended: the outcomes of rounds that had ended before: their requests were delivered again.
        actions: the actions made earlier for these requests' rounds.
        waited: seconds that the rounds had waited before.
        bodies: the terminal events that the store holds for `ends`, in their order.
    """

    rows: Mapping[str, DesiredRow]
    ended: Mapping[RoundKey, RoundOutcome]
    actions: Mapping[RoundKey, tuple[CloudAction, ...]]
    waited: Mapping[RoundKey, float]
    bodies: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit has shown.

    Attributes:
        ended: by node, its requests and the terminal events that the store holds for them.
        moved: the rows of finished nodes that moved on or are no longer ours: for them, nothing was
            written.
    """

    ended: Mapping[str, Sequence[tuple[Pending, bytes]]]
    moved: Mapping[str, DesiredRow]


class PowerStore:
    """The state store, as the engine uses it.

    Args:
        store: with the state's tables.
        cluster: the cluster's name.
        lease: how this worker owns nodes.
    """

    def __init__(self, store: sa.Engine, cluster: str, lease: Lease) -> None:
        self._store = store
        self._cluster = cluster
        self._lease = lease

    @property
    def owner(self) -> str:
        """Our name on leases."""
        return self._lease.owner.name

    def accept(self, requests: Sequence[Pending], ends: Sequence[RequestEnd], now: int) -> Accepted:
        """Open the requests' rounds, raise desired states, take leases; end what ends at once.

        `now` in ns since the epoch.
        """
        cluster = self._cluster
        with self._store.begin() as connection:
            ended = rounds.outcomes(connection, cluster, [r.key for r in requests])
            fresh = [r for r in requests if r.key not in ended]
            opened = [
                Round(r.id, r.history.round, r.command.node, r.command.generation, now)
                for r in fresh
            ]
            rounds.open_rounds(connection, cluster, opened)
            commands = [r.command for r in fresh]
            rows = desired_state.accept(connection, cluster, commands, self._lease, now)
            ids = {row.request_id for row in rows.values()} | {r.id for r in fresh}
            progress = rounds.progress(connection, cluster, ids)
            bodies = rounds.fix_outcomes(connection, cluster, [event for _, event in ends])
        return Accepted(
            rows,
            ended,
            {key: _actions(text) for key, (text, _) in progress.items() if text != "[]"},
            {key: waited for key, (_, waited) in progress.items()},
            bodies,
        )

    def read(self, names: Sequence[str]) -> Mapping[str, DesiredRow]:
        """The rows as they are now."""
        with reading(self._store) as connection:
            return desired_state.read(connection, self._cluster, names, self._lease)

    def read_one(self, node: str) -> DesiredRow:
        """A node's row as it is now."""
        return self.read([node])[node]

    def changed(self, known: Mapping[str, int]) -> list[str]:
        """The nodes, of those with these generations, that another process has touched."""
        with reading(self._store) as connection:
            return desired_state.changed(connection, self._cluster, known, self._lease)

    def clock_ahead(self, usual: float, now: int) -> float:
        """Seconds that a generation may lie in the future; less than `usual` after a clock reset."""
        with reading(self._store) as connection:
            return generations.clock_ahead(connection, self._cluster, usual, now)

    def image_of(self, group: str) -> str | None:
        """The id of the image to create a group's servers from, instead of its template's."""
        with reading(self._store) as connection:
            found = group_images.by_group(connection, self._cluster).get(group)
        return None if found is None else found.image_id

    def renew(self, waited: Mapping[RoundKey, float]) -> None:
        """Extend our leases, and keep how long rounds have waited, in seconds."""
        with self._store.begin() as connection:
            desired_state.renew(connection, self._cluster, self._lease)
            rounds.keep_waited(connection, self._cluster, waited)

    def commit(self, batch: Batch, now: int) -> Committed:
        """Write what a turn has brought; `now` in ns since the epoch.

        A finished node ends only if its row is as it was decided by: same generation, our lease.
        """
        cluster, lease = self._cluster, self._lease
        with self._store.begin() as connection:
            # nodes' rows at once and first: two workers must not wait for each other in a circle
            rows = desired_state.lock(connection, cluster, batch.touched, lease)
            rounds.record_actions(
                connection, cluster, {key: _text(made) for key, made in batch.actions.items()}
            )
            rounds.keep_waited(connection, cluster, batch.waited)
            observations.mark_booted(connection, cluster, batch.booted)
            desired_state.mark_unsettled(connection, cluster, batch.unsettled, lease)
            stays = {
                name: (node, finish)
                for name, (node, finish) in batch.finished.items()
                if rows[name].generation == node.row.generation
                and rows[name].lease_owner == self.owner
            }
            ended = self._end(connection, stays, now)
            desired_state.release(connection, cluster, {*stays, *batch.released}, lease)
        moved = {name: rows[name] for name in batch.finished if name not in stays}
        return Committed(ended, moved)

    def _end(
        self,
        connection: sa.Connection,
        finished: Mapping[str, tuple[PendingNode, Finish]],
        now: int,
    ) -> dict[str, list[tuple[Pending, bytes]]]:
        cluster = self._cluster
        flat = [
            (name, request, event)
            for name, (node, finish) in finished.items()
            for request, event in outcomes(node, finish, now)
        ]
        bodies = rounds.fix_outcomes(connection, cluster, [event for _, _, event in flat])
        held = {
            event.request_id
            for (_, _, event), body in zip(flat, bodies, strict=True)
            if event.image_id and body == event.to_envelope().to_json()
        }
        images = [i for i in _images(finished.values(), now) if i.request_id in held]
        group_images.keep(connection, cluster, images)
        own = {name: pair for name, pair in finished.items() if not pair[0].is_overtaken}
        observations.observe(connection, cluster, [_observed(*pair, now) for pair in own.values()])
        reached = {
            name: node.row.generation
            for name, (node, finish) in own.items()
            if finish.transition is Transition.COMPLETED
        }
        observations.mark_reached(connection, cluster, reached)
        ended: dict[str, list[tuple[Pending, bytes]]] = {name: [] for name in finished}
        for (name, request, _), body in zip(flat, bodies, strict=True):
            ended[name].append((request, body))
        return ended

    def prune(self, before: int) -> int:
        """Forget rounds that ended before then (ns since the epoch); how many."""
        with self._store.begin() as connection:
            return rounds.prune(connection, self._cluster, before)


def _observed(node: PendingNode, finish: Finish, now: int) -> Observation:
    server = finish.server
    return Observation(node.name, server.id if server else None, observed_status(finish), now)


def _images(finished: Iterable[tuple[PendingNode, Finish]], now: int) -> Iterator[GroupImage]:
    for node, _ in finished:
        if node.baking is not None and node.image_id is not None:
            yield GroupImage.of(node.baking, node.group_name, node.image_id, now)


def _text(actions: Iterable[CloudAction]) -> str:
    return json.dumps([action.to_data() for action in actions])


def _actions(text: str) -> tuple[CloudAction, ...]:
    return tuple(CloudAction(**raw) for raw in json.loads(text))
