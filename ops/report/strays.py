"""Servers that bear our tags and are no node's, as the resync worker has told of them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from ops.report.outcome import unreadable
from schemas.envelope import Fields, parse
from schemas.errors import MalformedMessageError
from schemas.events import Notice, notice_from
from workers.resync.drift import Drift
from workers.store.tables import audit

_TYPE = "lamplighter.alarm.drift.v1"


@dataclass(frozen=True, slots=True)
class Stray:
    """A server that is no node's.

    Attributes:
        since: when it was found, ns since the epoch.
        cloud: where it is; None where that was not told.
        node: which it says that it is, or None.
    """

    server: str
    since: int
    cloud: str | None = None
    node: str | None = None


def strays(connection: sa.Connection, begin: int, end: int) -> list[Stray]:
    """Those found in this time (ns), each once however often it was found or told of.

    Raises:
        MalformedMessageError: naming a record that cannot be read.
    """
    query = (
        sa.select(audit.c.seq, audit.c.body)
        .where(
            # the words of the index that has these few
            audit.c.transition.is_(None),
            audit.c.type == _TYPE,
            # nothing is told before it is found
            audit.c.time >= begin,
        )
        .order_by(audit.c.seq)
    )
    found: dict[tuple[str | None, str], Stray] = {}
    for seq, body in connection.execute(query):
        try:
            told = list(_told(notice_from(parse(body))))
        except MalformedMessageError as error:
            raise unreadable(seq, str(error)) from None
        for stray in told:
            if begin <= stray.since < end:
                found.setdefault((stray.cloud, stray.server), stray)
    return list(found.values())


def _told(notice: Notice) -> Iterator[Stray]:
    """As workers/resync/notices.py tells: of one, or of all beyond the first few."""
    if "drift" in notice.details:
        each: Mapping[str, Mapping[str, object]] = {notice.subject: notice.details}
    else:
        each = {server: _object(server, said) for server, said in notice.details.items()}
    for server, details in each.items():
        fields = Fields(details, f"data.details of {server}: ")
        if fields.text("drift") == Drift.STRAY:
            yield Stray(
                server,
                fields.instant("since") if "since" in details else notice.time,
                fields.text_or_none("cloud"),
                fields.text_or_none("node"),
            )


def _object(server: str, said: str) -> Mapping[str, object]:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise MalformedMessageError(
            f"data.details.{server}", "is no JSON object", "do not alter it"
        )
    return found
