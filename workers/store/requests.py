"""Stores the rounds of requests, and the one outcome of each, fixed before its event is published.

The functions take a connection, so that a caller can combine them with its other writes in one
transaction. Each handles many rounds with a few statements.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeAlias

import sqlalchemy as sa

from schemas.envelope import parse
from schemas.events import CloudAction, RequestEvent, Transition, event_from
from schemas.fields import to_data
from workers.store.database import DIALECTS, among, insert, upsert
from workers.store.tables import nodes, requests

# request ID and round
RoundKey: TypeAlias = tuple[str, int]

_ENDED = "outcome", "event", "decided_at", "actions"
# By dialect: open a round; end one; the rounds of the requests whose ids are the parameter `values`.
_OPEN = {name: insert(name, requests).on_conflict_do_nothing() for name in DIALECTS}
_END = {
    name: upsert(name, requests, *_ENDED, where=lambda _: requests.c.outcome.is_(None))
    for name in DIALECTS
}
_THIS = (
    requests.c.cluster == sa.bindparam("of_cluster"),
    requests.c.request_id == sa.bindparam("of_request"),
    requests.c.round == sa.bindparam("of_round"),
)
# A worker that has lost the node knows less of the round than the one that has taken it.
_HAS_NODE = sa.exists().where(
    nodes.c.cluster == requests.c.cluster,
    nodes.c.node == requests.c.node,
    nodes.c.lease_owner == sa.bindparam("owner"),
)
_UPDATE = sa.update(requests).where(*_THIS, _HAS_NODE)
_MANY = 50_000
_THESE = {name: among(name, requests.c.request_id) for name in DIALECTS}


@dataclass(frozen=True, slots=True)
class Round:
    """A round that has no outcome yet; times are ns since the epoch."""

    request_id: str
    round: int
    node: str
    generation: int
    accepted_at: int


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """The outcome of a round: its single terminal event, as published."""

    transition: Transition
    event: bytes


def open_rounds(connection: sa.Connection, cluster: str, rows: Sequence[Round]) -> None:
    """Open these rounds; a round that is open or ended already stays unchanged."""
    if not rows:
        return
    connection.execute(
        _OPEN[connection.dialect.name],
        [
            {"cluster": cluster, **{name: getattr(row, name) for name in Round.__slots__}}
            for row in sorted(rows, key=lambda row: (row.request_id, row.round))
        ],
    )


def outcomes(
    connection: sa.Connection, cluster: str, keys: Sequence[RoundKey]
) -> Mapping[RoundKey, RoundOutcome]:
    """The outcomes of these rounds; open and unknown rounds are omitted."""
    wanted, ids = set(keys), [request_id for request_id, _ in keys]
    columns = requests.c.request_id, requests.c.round, requests.c.outcome, requests.c.event
    query = sa.select(*columns).where(
        requests.c.cluster == cluster,
        _THESE[connection.dialect.name],
        requests.c.outcome.is_not(None),
    )
    return {
        (request_id, round_): RoundOutcome(Transition(outcome), event)
        for request_id, round_, outcome, event in connection.execute(query, {"values": ids})
        if (request_id, round_) in wanted
    }


def fix_outcomes(
    connection: sa.Connection, cluster: str, events: Sequence[RequestEvent]
) -> list[tuple[RequestEvent, bytes]]:
    """End each event's round with that event, unless the round has ended already (compare-and-set).

    Commit before you publish what this returns, and publish nothing else: then each round has one
    terminal event, no matter how many workers and operators try to end it.

    Returns:
        The stored event of each round and its JSON, for each given event, in the same order. It is
        the given event itself where that is the one that is stored.
    """
    if not events:
        return []
    first: dict[RoundKey, tuple[RequestEvent, bytes]] = {}
    rows: dict[RoundKey, dict[str, object]] = {}
    for event in events:
        if (key := (event.request_id, event.round)) not in first:
            envelope = event.to_envelope()
            first[key] = event, envelope.to_json()
            rows[key] = {
                "cluster": cluster,
                "request_id": event.request_id,
                "round": event.round,
                "node": event.node,
                "generation": event.generation,
                "accepted_at": event.time,
                "outcome": str(event.transition),
                "event": first[key][1],
                "decided_at": event.time,
                "actions": json.dumps(envelope.data["actions"]),
            }
    statement = _END[connection.dialect.name]
    # all callers lock rows in the same order, so that two transactions cannot deadlock
    connection.execute(statement, [rows[key] for key in sorted(rows)])
    for key, stored in outcomes(connection, cluster, list(first)).items():
        if stored.event != first[key][1]:
            first[key] = event_from(parse(stored.event)), stored.event
    return [first[event.request_id, event.round] for event in events]


def progress(
    connection: sa.Connection, cluster: str, request_ids: Iterable[str]
) -> Mapping[RoundKey, tuple[tuple[CloudAction, ...], float]]:
    """The recorded actions of these requests' rounds, and the seconds that they waited."""
    columns = (requests.c.request_id, requests.c.round, requests.c.actions, requests.c.waited_ms)
    query = sa.select(*columns).where(
        requests.c.cluster == cluster, _THESE[connection.dialect.name]
    )
    return {
        (request_id, round_): (tuple(CloudAction(**one) for one in json.loads(actions)), ms / 1000)
        for request_id, round_, actions, ms in connection.execute(
            query, {"values": sorted(request_ids)}
        )
    }


def record_actions(
    connection: sa.Connection,
    cluster: str,
    owner: str,
    actions: Mapping[RoundKey, Sequence[CloudAction]],
) -> None:
    """Keep the actions made for those of these rounds whose nodes this owner leases; patience starts again."""
    rows = {
        key: {"actions": json.dumps(list(map(to_data, made))), "waited_ms": 0}
        for key, made in actions.items()
    }
    _update(connection, cluster, owner, rows)


def keep_waited(
    connection: sa.Connection, cluster: str, owner: str, waited: Mapping[RoundKey, float]
) -> None:
    """Keep how many seconds those of these rounds have waited whose nodes this owner leases."""
    rows = {key: {"waited_ms": int(seconds * 1000)} for key, seconds in waited.items()}
    _update(connection, cluster, owner, rows)


def _update(
    connection: sa.Connection,
    cluster: str,
    owner: str,
    rows: Mapping[RoundKey, Mapping[str, object]],
) -> None:
    if rows:
        whose = {"of_cluster": cluster, "owner": owner}
        parameters = [
            {**whose, "of_request": key[0], "of_round": key[1], **values}
            for key, values in sorted(rows.items(), key=itemgetter(0))
        ]
        connection.execute(_UPDATE, parameters)  # sets the columns that are in the rows


def ended_before(connection: sa.Connection, cluster: str, before: int) -> list[RoundKey]:
    """The rounds that ended before then (ns since the epoch), the oldest first; not all of very many."""
    query = sa.select(requests.c.request_id, requests.c.round).where(
        requests.c.cluster == cluster, requests.c.decided_at < before
    )
    found = connection.execute(query.order_by(requests.c.decided_at).limit(_MANY))
    return [(request_id, round_) for request_id, round_ in found]


def forget(connection: sa.Connection, cluster: str, keys: Sequence[RoundKey]) -> int:
    """Forget these rounds; how many."""
    if not keys:
        return 0
    parameters = [{"of_cluster": cluster, "of_request": id_, "of_round": n} for id_, n in keys]
    return connection.execute(sa.delete(requests).where(*_THIS), parameters).rowcount
