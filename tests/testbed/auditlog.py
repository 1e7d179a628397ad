"""Audit logs of any length, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from schemas.events import Cause, CloudAction, Happening
from tests.testbed.messages import MOMENT, command, event
from workers.audit.log import append
from workers.audit.record import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from schemas.events import RequestEvent
    from workers.audit.record import Record

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
        yield event(Happening.ACCEPTED, asked, time=asked.generation + SECOND)
        took = (20 + number % 30) * SECOND
        if number % FAILS == FAILS - 1:
            cause = Cause("quota", f"no room for {asked.id}")
            yield event(Happening.FAILED, asked, time=asked.generation + took, cause=cause)
        else:
            done = event(Happening.COMPLETED, asked, time=asked.generation + took)
            act = CloudAction("os-start", asked.id, asked.generation + 2 * SECOND, "done")
            yield replace(done, cloud="near", address="10.0.0.1", actions=(act,))


def fill(engine: sa.Engine, requests: int, begin: int = MOMENT) -> None:
    """Record the lives of so many requests, two records each."""
    coming = (_record(told) for told in lives(requests, begin))
    while batch := list(islice(coming, BATCH)):
        append(engine, batch)


def _record(told: RequestEvent) -> Record:
    return record_of(told.to_envelope().to_json(), "test", told.time + SECOND)
