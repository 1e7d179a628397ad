"""The engine's transactions: each is one commit for many nodes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import sqlalchemy as sa

from schemas.events import CloudAction, RequestEvent
from workers.power import desired_state
from workers.power.desired_state import DesiredRow, Observation
from workers.power.intake import Pending
from workers.power.lease_owner import Owner
from workers.power.node_work import RoundKey, actions_from_json, actions_to_json
from workers.store import group_images
from workers.store.database import reading
from workers.store.group_images import GroupImage
from workers.store.requests import Round, RoundOutcome, fix_outcomes, open_rounds, outcomes

RequestEnding: TypeAlias = tuple[Pending, RequestEvent]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What accepting has shown.

    Attributes:
        rows: the nodes' rows.
        ended: the outcomes of rounds that had ended before: they were delivered again.
        actions: the actions made earlier for these requests' rounds.
    """

    rows: Mapping[str, DesiredRow]
    ended: Mapping[RoundKey, RoundOutcome]
    actions: Mapping[RoundKey, list[CloudAction]]


class PowerStore:
    """The store, as the engine uses it. Every method is safe to repeat.

    Args:
        store: with the state's tables.
        cluster: the cluster's name.
        owner: this worker.
        lease: seconds that a node is ours without renewing.
        landing: seconds within which a call that was sent takes effect, if ever.
    """

    def __init__(
        self, store: sa.Engine, cluster: str, owner: Owner, lease: float, landing: float
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._owner = owner
        self._lease = lease
        self._landing = landing

    @property
    def owner(self) -> str:
        """Our name on leases."""
        return self._owner.name

    def accept(self, pending: Sequence[Pending], now: int) -> Accepted:
        """Open the requests' rounds, raise desired states, take leases; `now` in ns."""
        with self._store.begin() as connection:
            ended = outcomes(connection, self._cluster, [p.key for p in pending])
            fresh = [p for p in pending if p.key not in ended]
            open_rounds(
                connection,
                self._cluster,
                [
                    Round(p.command.id, p.past.round, p.command.node, p.command.generation, now)
                    for p in fresh
                ],
            )
            rows = desired_state.accept(
                connection,
                self._cluster,
                [p.command for p in fresh],
                self._owner,
                self._lease,
                self._landing,
            )
            recorded = desired_state.actions_of(
                connection,
                self._cluster,
                {row.request_id for row in rows.values()} | {p.command.id for p in fresh},
            )
        actions = {key: actions_from_json(text) for key, text in recorded.items()}
        return Accepted(rows, ended, {key: made for key, made in actions.items() if made})

    def read(self, names: Sequence[str]) -> Mapping[str, DesiredRow]:
        """The rows as they are now."""
        with reading(self._store) as connection:
            return desired_state.read(connection, self._cluster, names)

    def image_of(self, group: str) -> str | None:
        """The id of the image to make a group's servers from, in place of its template's."""
        with reading(self._store) as connection:
            found = group_images.by_group(connection, self._cluster).get(group)
        return None if found is None else found.image_id

    def renew(self) -> None:
        """Prolong our leases."""
        with self._store.begin() as connection:
            desired_state.renew(connection, self._cluster, self._owner, self._lease)

    def record(
        self, actions: Mapping[RoundKey, Sequence[CloudAction]], unsure: Collection[str] = ()
    ) -> None:
        """Keep actions as they are made, so that whoever goes on after a crash knows them.

        Args:
            actions: all of these rounds so far.
            unsure: nodes where a call without an answer may still take effect.
        """
        with self._store.begin() as connection:
            desired_state.record_actions(
                connection,
                self._cluster,
                {key: actions_to_json(made) for key, made in actions.items()},
            )
            desired_state.be_wary(connection, self._cluster, unsure, self._landing)

    def settle(
        self,
        endings: Mapping[str, tuple[int, Sequence[RequestEnding]]],
        seen: Iterable[Observation],
        kept: Sequence[GroupImage] = (),
    ) -> tuple[dict[str, list[tuple[Pending, bytes]]], Mapping[str, DesiredRow]]:
        """End the rounds of nodes whose desired state has not moved on, and give them up.

        Args:
            endings: by node, the generation that was reached and how its requests end.
            seen: what the nodes were seen to be.
            kept: images made of them; their groups use them once the bake stands as completed.

        Returns:
            The bodies that stand, by node; and the rows of those nodes that have moved on or are
            no longer ours: nothing was written for them.
        """
        with self._store.begin() as connection:
            rows = desired_state.lock(connection, self._cluster, list(endings))
            moved = {
                node: rows[node]
                for node, (generation, _) in endings.items()
                if rows[node].generation != generation or rows[node].lease_owner != self.owner
            }
            stays = [node for node in endings if node not in moved]
            flat = [(node, ending) for node in stays for ending in endings[node][1]]
            bodies = fix_outcomes(connection, self._cluster, [event for _, (_, event) in flat])
            stand = {
                event.request_id
                for (_, (_, event)), body in zip(flat, bodies, strict=True)
                if event.image_id and body == event.to_envelope().to_json()
            }
            group_images.keep(connection, self._cluster, [k for k in kept if k.request_id in stand])
            desired_state.observe(
                connection, self._cluster, [o for o in seen if o.node not in moved]
            )
            desired_state.release(connection, self._cluster, stays, self._owner)
        ended: dict[str, list[tuple[Pending, bytes]]] = {node: [] for node in stays}
        for (node, (pending, _)), body in zip(flat, bodies, strict=True):
            ended[node].append((pending, body))
        return ended, moved

    def end(self, endings: Sequence[RequestEnding]) -> list[bytes]:
        """End rounds of requests that never raised a desired state; the bodies that stand."""
        with self._store.begin() as connection:
            return fix_outcomes(connection, self._cluster, [event for _, event in endings])

    def release(self, names: Sequence[str]) -> None:
        """Give nodes up."""
        with self._store.begin() as connection:
            desired_state.release(connection, self._cluster, names, self._owner)
