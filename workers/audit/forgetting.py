"""Forgets ended rounds in the state store, once the log holds their outcomes."""

import sqlalchemy as sa

from producers.batched import batched
from schemas.events import ENDS
from workers.store import requests
from workers.store.database import among, reading
from workers.store.requests import RoundKey
from workers.store.tables import audit


def forget_recorded(state: sa.Engine, log: sa.Engine, cluster: str, before: int) -> int:
    """Forget rounds that ended before then (ns since the epoch); how many.

    A round stays, however old it is, until its outcome is in the log: while the broker is away, the
    outcome is published again when its request is delivered again.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: a store is unavailable; what was forgotten stays so.
    """
    with reading(state) as connection:
        old = requests.ended_before(connection, cluster, before)
    count = 0
    for keys in batched(old):
        recorded = _recorded(log, cluster, set(keys))
        with state.begin() as connection:
            count += requests.forget(connection, cluster, recorded)
    return count


def _recorded(log: sa.Engine, cluster: str, keys: set[RoundKey]) -> list[RoundKey]:
    """Those of the rounds whose outcomes are in the log."""
    query = sa.select(audit.c.request_id, audit.c.round).where(
        among(log.dialect.name, audit.c.request_id),
        audit.c.source == cluster,
        audit.c.transition.in_(ENDS),
    )
    with reading(log) as connection:
        found = connection.execute(query, {"values": sorted({id_ for id_, _ in keys})})
        return sorted(keys & {(id_, round_) for id_, round_ in found})
