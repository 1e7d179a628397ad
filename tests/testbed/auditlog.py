"""Audit logs of any length, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from schemas.events import Cause, CloudAction, Transition
from tests.testbed.messages import MOMENT, command, event
from workers.audit import log
from workers.audit.log import append
from workers.audit.record import Record, record_of
from workers.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schemas.events import RequestEvent

SECOND = 10**9
NODES = 2000
BATCH = 500
# Every so many requests one fails.
FAILS = 100


def lives(requests: int, begin: int = MOMENT) -> Iterator[RequestEvent]:
    """Two events a request, a request a second; each FAILS-th fails, and boots take 20 s to 49 s."""
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
    """Record the lives of so many requests, two records each, as the audit worker does."""
    coming = (
        record_of(told.to_envelope().to_json(), "test", told.time + SECOND)
        for told in lives(requests, begin)
    )
    while batch := list(islice(coming, BATCH)):
        append(engine, batch)


def flood(engine: sa.Engine, requests: int, begin: int) -> None:
    """The same records, in a fraction of the time."""
    pour(engine, lives(requests, begin))


def pour(engine: sa.Engine, events: Iterable[RequestEvent]) -> None:
    """Record these; none is looked for before it is written."""
    coming = (_record(told) for told in events)
    while batch := list(islice(coming, 20 * BATCH)):
        with engine.begin() as connection:
            connection.execute(sa.insert(audit), list(log._rows(log._head(connection), batch)))
            log._remember_jobs(connection, batch)


def _record(told: RequestEvent) -> Record:
    """As record_of makes it, without reading what was just written."""
    return Record(
        source=told.cluster,
        id=told.id,
        type=told.transition.type,
        time=told.time,
        recorded_at=told.time + SECOND,
        body=told.to_envelope().to_json(),
        subject=told.node,
        request_id=told.request_id,
        round=told.round,
        transition=str(told.transition),
        generation=told.generation,
        correlation_id=told.correlation_id,
        jobs=tuple(sorted({job.job_id for job in told.jobs})),
    )
