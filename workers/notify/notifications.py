"""What webhooks are to be told, in the store: it outlives the process, and each waits for itself.

Functions over a connection, each safe to repeat. Times are ns since the epoch.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from schemas.events import Cause
from workers.broker.failure_headers import with_failure
from workers.store.tables import notifications
from workers.store.upsert import insert


@dataclass(frozen=True, slots=True)
class Notification:
    """An event for one webhook.

    Attributes:
        event_id: the event's own.
        round: from 1; a replay opens the next.
        body: the event, byte for byte.
        taken_at: when it came.
        due_at: when its next try is due.
        errors: the failed tries, oldest first, as they travel in a dead letter's header.
    """

    webhook: str
    event_id: str
    round: int
    body: bytes
    taken_at: int
    due_at: int
    errors: tuple[Mapping[str, Any], ...] = ()

    @property
    def attempt(self) -> int:
        """Which try comes next, from 1."""
        return (self.errors[-1]["attempt"] if self.errors else 0) + 1

    def failed(self, cause: Cause, now: int) -> tuple[Mapping[str, Any], ...]:
        """Its errors after one more failed try."""
        return with_failure(self.errors, self.attempt, cause, now)


def put(connection: sa.Connection, cluster: str, new: Iterable[Notification]) -> None:
    """Take these over; one that is known already folds."""
    rows = [
        {
            "cluster": cluster,
            "webhook": each.webhook,
            "event_id": each.event_id,
            "round": each.round,
            "body": each.body,
            "received_at": each.taken_at,
            "due_at": each.due_at,
        }
        for each in new
    ]
    if rows:
        rows.sort(key=lambda row: (row["webhook"], row["event_id"], row["round"]))
        connection.execute(insert(connection, notifications).on_conflict_do_nothing(), rows)


def claim(
    connection: sa.Connection, cluster: str, webhook: str, now: int, until: int
) -> Notification | None:
    """What has been due longest; it is due again at `until` if nobody says more.

    Each goes to one of several workers.
    """
    query = (
        sa.select(notifications)
        .where(_open(cluster, webhook), notifications.c.due_at <= now)
        .order_by(notifications.c.due_at, notifications.c.received_at, notifications.c.event_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    found = Notification(
        row.webhook,
        row.event_id,
        row.round,
        row.body,
        row.received_at,
        until,
        tuple(json.loads(row.errors)),
    )
    connection.execute(sa.update(notifications).where(_is(cluster, found)).values(due_at=until))
    return found


def try_again(
    connection: sa.Connection,
    cluster: str,
    which: Notification,
    errors: Sequence[Mapping[str, Any]],
    due_at: int,
) -> None:
    """Note a failed try."""
    values = {"errors": json.dumps(errors), "due_at": due_at}
    connection.execute(sa.update(notifications).where(_is(cluster, which)).values(values))


def done(connection: sa.Connection, cluster: str, which: Notification, now: int) -> None:
    """It has been taken, or is a dead letter; it is remembered, so that a repeat of its event folds."""
    values = {"done_at": now, "body": b"", "errors": "[]"}
    connection.execute(sa.update(notifications).where(_is(cluster, which)).values(values))


def forget(connection: sa.Connection, cluster: str, before: int) -> None:
    """Forget what was done with before then."""
    connection.execute(
        sa.delete(notifications).where(
            notifications.c.cluster == cluster, notifications.c.done_at < before
        )
    )


def waiting(connection: sa.Connection, cluster: str) -> Mapping[str, int]:
    """How many wait, by webhook."""
    query = (
        sa.select(notifications.c.webhook, sa.func.count())
        .where(notifications.c.cluster == cluster, notifications.c.done_at.is_(None))
        .group_by(notifications.c.webhook)
    )
    return {row.webhook: row[1] for row in connection.execute(query)}


def _open(cluster: str, webhook: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        notifications.c.cluster == cluster,
        notifications.c.webhook == webhook,
        notifications.c.done_at.is_(None),
    )


def _is(cluster: str, which: Notification) -> sa.ColumnElement[bool]:
    return sa.and_(
        notifications.c.cluster == cluster,
        notifications.c.webhook == which.webhook,
        notifications.c.event_id == which.event_id,
        notifications.c.round == which.round,
    )
