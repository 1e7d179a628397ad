"""Audit logs of any length, and single records, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from schemas.events import Cause, CloudAction, Transition
from tests.testbed.messages import MOMENT, command, event
from workers.audit import log
from workers.audit.log import append
from workers.audit.queries import Entry
from workers.audit.record import Record, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import sqlalchemy as sa

    from schemas.events import RequestEvent

SECOND = 10**9
NODES = 2000
BATCH = 500
# One request in this many fails.
FAILS = 100


def lives(requests: int, begin: int = MOMENT) -> Iterator[RequestEvent]:
    """Two events a request, one request a second; boots take 20 s to 49 s, one in FAILS fails."""
    for number in range(requests):
        asked = command(
            f"node{number % NODES + 1}",
            generation=begin + number * SECOND,
            jobs=(number // 10 + 1,),
        )
        yield event(Transition.ACCEPTED, asked, time=asked.generation + SECOND)
        took = (20 + number % 30) * SECOND
        if number % FAILS == FAILS - 1:
            cause = Cause("quota", f"no room for {asked.id}")
            yield event(Transition.FAILED, asked, time=asked.generation + took, cause=cause)
        else:
            done = event(Transition.COMPLETED, asked, time=asked.generation + took)
            act = CloudAction("os-start", asked.id, asked.generation + 2 * SECOND, "done")
            yield replace(done, cloud="near", address="10.0.0.1", actions=(act,))


def fill(engine: sa.Engine, requests: int, begin: int = MOMENT) -> None:
    """Append this many requests, two records each, as the audit worker does."""
    coming = (
        record_of(event_.to_envelope().to_json(), "test", event_.time + SECOND)
        for event_ in lives(requests, begin)
    )
    while batch := list(islice(coming, BATCH)):
        append(engine, batch)


def flood(engine: sa.Engine, requests: int, begin: int) -> None:
    """Append the same records as `fill`, faster."""
    pour(engine, lives(requests, begin))


def pour(engine: sa.Engine, events: Iterable[RequestEvent]) -> None:
    """Append these events without looking for repeats."""
    coming = (_record(event_) for event_ in events)
    while batch := list(islice(coming, 20 * BATCH)):
        with engine.begin() as connection:
            log._insert(connection, batch)


def entry_of(event_: RequestEvent, recorded_at: int | None = None) -> Entry:
    """The event as it is read back from the audit; recorded a second later by default."""
    record = _record(event_)
    recorded_at = record.recorded_at if recorded_at is None else recorded_at
    values = {name: getattr(record, name) for name in Entry.__dataclass_fields__ if name != "seq"}
    return Entry(seq=1, **{**values, "recorded_at": recorded_at})


def _record(event_: RequestEvent) -> Record:
    """Same as `record_of`, without parsing the body."""
    return Record(
        source=event_.cluster,
        id=event_.id,
        type=event_.transition.type,
        time=event_.time,
        recorded_at=event_.time + SECOND,
        body=event_.to_envelope().to_json(),
        subject=event_.node,
        request_id=event_.request_id,
        round=event_.round,
        transition=str(event_.transition),
        generation=event_.generation,
        correlation_id=event_.correlation_id,
        jobs=tuple(sorted({job.job_id for job in event_.jobs})),
    )
