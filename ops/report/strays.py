"""Reads from the audit the stray servers that the resync worker found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from ops.report.outcome import unreadable
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.fields import Fields, loads
from schemas.notices import Notice, notice_from
from workers.resync.drift import Drift
from workers.store.tables import audit

_TYPE = "lamplighter.alarm.drift.v1"


@dataclass(frozen=True, slots=True)
class Stray:
    """A server with our tags that belongs to no node, found at `since` (ns since the epoch).

    `cloud` is None if the notice does not name it; `node` is what its tags name, or None.
    """

    server: str
    since: int
    cloud: str | None = None
    node: str | None = None


def strays(connection: sa.Connection, begin: int, end: int) -> list[Stray]:
    """The strays found in this time (ns), each once even if it was found or reported repeatedly.

    A MalformedMessageError names a record that cannot be parsed.
    """
    query = (
        sa.select(audit.c.seq, audit.c.body)
        .where(
            # matches the partial index
            audit.c.transition.is_(None),
            audit.c.type == _TYPE,
            # no notice is older than its finding
            audit.c.time >= begin,
        )
        .order_by(audit.c.seq)
    )
    found: dict[tuple[str | None, str], Stray] = {}
    for seq, body in connection.execute(query):
        try:
            noticed = list(_strays_in(notice_from(parse(body))))
        except MalformedMessageError as error:
            raise unreadable(seq, str(error)) from None
        for stray in noticed:
            if begin <= stray.since < end:
                found.setdefault((stray.cloud, stray.server), stray)
    return list(found.values())


def _strays_in(notice: Notice) -> Iterator[Stray]:
    """The strays of a notice: a single one, or several (see workers/resync/notices.py)."""
    if "drift" in notice.details:
        each: Mapping[str, Mapping[str, object]] = {notice.subject: notice.details}
    else:
        each = {server: _object(server, text) for server, text in notice.details.items()}
    for server, details in each.items():
        fields = Fields(details, f"data.details of {server}: ")
        if fields.text("drift") == Drift.STRAY:
            yield Stray(
                server,
                fields.instant("since") if "since" in details else notice.time,
                fields.text_or_none("cloud"),
                fields.text_or_none("node"),
            )


def _object(server: str, text: str) -> Mapping[str, object]:
    try:
        found = loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise MalformedMessageError(
            f"data.details.{server}", "is not a JSON object", "do not alter it"
        )
    return found
