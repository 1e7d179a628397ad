"""Notifications in the state store, where they survive a restart of the process.

Functions over a connection, each safe to repeat. Times are ns since the epoch.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from schemas.events import Cause
from workers.broker.failure_headers import with_failure
from workers.store.database import insert
from workers.store.tables import notifications


@dataclass(frozen=True, slots=True)
class Notification:
    """An event, byte for byte, for the webhook of this name; the next attempt is due at `due_at`.

    `round` is from 1; each replay starts the next one. `errors` are the failed attempts, oldest
    first, as in a dead letter's header.
    """

    webhook: str
    event_id: str
    round: int
    body: bytes
    received_at: int
    due_at: int
    errors: tuple[Mapping[str, Any], ...] = ()

    @property
    def attempt(self) -> int:
        """The number of the next attempt, from 1."""
        return (self.errors[-1]["attempt"] if self.errors else 0) + 1

    def failed(self, cause: Cause, now: int) -> tuple[Mapping[str, Any], ...]:
        """The errors after one more failed attempt."""
        return with_failure(self.errors, self.attempt, cause, now)


def add(connection: sa.Connection, cluster: str, new: Iterable[Notification]) -> None:
    """Store these notifications; repeats of known ones are ignored."""
    rows = [
        {**asdict(each), "cluster": cluster, "errors": json.dumps(each.errors)}
        for each in sorted(new, key=lambda each: (each.webhook, each.event_id, each.round))
    ]
    if rows:
        connection.execute(
            insert(connection.dialect.name, notifications).on_conflict_do_nothing(), rows
        )


def claim(  # noqa: PLR0913, PLR0917 - which one, and three times
    connection: sa.Connection, cluster: str, webhook: str, now: int, until: int, latest: int
) -> Notification | None:
    """Take the notification that has been due longest; it is due again at `until`.

    Several workers never claim the same one. What is due after `latest`, later than anything is ever
    due, was scheduled before our clock was set back: it is due now.
    """
    columns = (notifications.c[name] for name in Notification.__dataclass_fields__)
    query = (
        sa.select(*columns)
        .where(
            notifications.c.cluster == cluster,
            notifications.c.webhook == webhook,
            notifications.c.done_at.is_(None),
            sa.or_(notifications.c.due_at <= now, notifications.c.due_at > latest),
        )
        .order_by(notifications.c.due_at, notifications.c.received_at, notifications.c.event_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    found = replace(Notification(*row), due_at=until, errors=tuple(json.loads(row.errors)))
    connection.execute(sa.update(notifications).where(_is(cluster, found)).values(due_at=until))
    return found


def reschedule(
    connection: sa.Connection,
    cluster: str,
    notification: Notification,
    errors: Sequence[Mapping[str, Any]],
    due_at: int,
) -> None:
    """Record a failed attempt, and when the next one is due."""
    values = {"errors": json.dumps(errors), "due_at": due_at}
    connection.execute(sa.update(notifications).where(_is(cluster, notification)).values(values))


def mark_done(
    connection: sa.Connection, cluster: str, notification: Notification, now: int
) -> None:
    """Mark it as delivered or dead-lettered; it is kept, so that a repeat of its event is ignored."""
    values = {"done_at": now, "body": b"", "errors": "[]"}
    connection.execute(sa.update(notifications).where(_is(cluster, notification)).values(values))


def delete_done(connection: sa.Connection, cluster: str, before: int) -> None:
    """Delete the notifications that were done before this time."""
    done = sa.and_(notifications.c.cluster == cluster, notifications.c.done_at < before)
    connection.execute(sa.delete(notifications).where(done))


def count_waiting(connection: sa.Connection, cluster: str) -> Mapping[str, int]:
    """The number of waiting notifications by webhook."""
    waiting = sa.and_(notifications.c.cluster == cluster, notifications.c.done_at.is_(None))
    query = sa.select(notifications.c.webhook, sa.func.count()).where(waiting)
    rows = connection.execute(query.group_by(notifications.c.webhook))
    return {row.webhook: row[1] for row in rows}


def _is(cluster: str, notification: Notification) -> sa.ColumnElement[bool]:
    return sa.and_(
        notifications.c.cluster == cluster,
        notifications.c.webhook == notification.webhook,
        notifications.c.event_id == notification.event_id,
        notifications.c.round == notification.round,
    )
