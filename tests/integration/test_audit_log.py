"""The audit log records every event once, in one chain, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from ops.cli.session import Session
from ops.console.pages import Pages
from producers import hosts
from schemas.events import Cause, Transition
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.messages import MOMENT, command, event
from workers.audit.log import append
from workers.audit.queries import Filter, conflicts, find, oldest_first, request_records
from workers.audit.record import GENESIS, QUARANTINED, Record, record_of
from workers.store.database import open_store, reading
from workers.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.events import RequestEvent

NS = 10**9
NOW = MOMENT + 60 * NS


@pytest.fixture
def log(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "audit")
    yield engine
    engine.dispose()


def record(event_: RequestEvent) -> Record:
    return record_of(event_.to_envelope().to_json(), "test", NOW)


def chain(engine: sa.Engine) -> list[sa.Row[tuple[bytes, bytes]]]:
    with engine.connect() as connection:
        return list(
            connection.execute(sa.select(audit.c.prev_hash, audit.c.hash).order_by(audit.c.seq))
        )


def assert_chained(engine: sa.Engine, count: int) -> None:
    links = chain(engine)
    assert len(links) == count
    assert links[0].prev_hash == GENESIS
    assert all(after.prev_hash == before.hash for before, after in pairwise(links))


def test_a_repeated_event_is_recorded_once_within_and_across_batches(log: sa.Engine) -> None:
    accepted = record(event(Transition.ACCEPTED))
    first = append(log, [accepted, accepted])
    again = append(log, [replace(accepted, recorded_at=NOW + 1)])
    assert (first.recorded, first.folded) == (1, 1)
    assert (again.recorded, again.folded) == (0, 1)
    assert_chained(log, 1)


def test_a_second_outcome_of_a_round_is_reported_as_a_conflict(log: sa.Engine) -> None:
    completed, failed = (
        record(event(transition)) for transition in (Transition.COMPLETED, Transition.FAILED)
    )
    append(log, [completed])
    result = append(log, [failed])
    assert (result.recorded, result.folded, result.conflicts) == (0, 1, (failed,))
    assert append(log, [completed]).conflicts == ()


def test_no_later_round_displaces_an_outcome(log: sa.Engine) -> None:
    """Only a failed round has a next one. In one batch or several, also under another cluster's name."""
    asked = command()
    done = record(event(Transition.COMPLETED, asked))
    later = [
        record(event(Transition.DISCARDED, asked, round_=2)),
        record(event(Transition.FAILED, asked, round_=3)),
        replace(record(event(Transition.FAILED, asked)), source="elsewhere"),
    ]
    assert append(log, [done, later[0]]).conflicts == (later[0],)
    for forged in later:
        result = append(log, [forged, forged])
        assert (result.recorded, result.folded, result.conflicts) == (0, 2, (forged,))
    with log.connect() as connection:
        assert [entry.transition for entry in request_records(connection, asked.id)] == [
            "completed"
        ]
        kept = conflicts(connection, asked.id)
    assert [entry.round for entry in kept] == [2, 3, 1]
    assert_chained(log, 4)


def test_rounds_may_be_recorded_in_any_order(log: sa.Engine) -> None:
    asked = command()
    life = [
        event(Transition.ACCEPTED, asked),
        event(Transition.FAILED, asked),
        event(Transition.REPLAYED, asked, round_=2),
        event(Transition.FAILED, asked, round_=2),
        event(Transition.DISCARDED, asked, round_=3),
    ]
    for one in reversed(life):
        assert append(log, [record(one)]).conflicts == ()
    again = append(log, [record(one) for one in life])
    assert (again.folded, again.conflicts) == (5, ())


def test_each_hash_covers_its_predecessor_and_the_record(log: sa.Engine) -> None:
    records = [record(event(Transition.ACCEPTED, command(f"node{i}"))) for i in range(5)]
    append(log, records[:2])
    append(log, records[2:])
    assert_chained(log, 5)
    previous = GENESIS
    for kept, link in zip(records, chain(log), strict=True):
        previous = kept.chained(previous)
        assert link.hash == previous


def test_concurrent_writers_never_fork_the_chain(log: sa.Engine) -> None:
    writers, batches, size = 4, 5, 10
    together = threading.Barrier(writers)

    def write(writer: int) -> None:
        together.wait()
        for batch in range(batches):
            append(
                log,
                [
                    record(event(Transition.ACCEPTED, command(f"node{writer}-{batch}-{i}")))
                    for i in range(size)
                ],
            )

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    assert_chained(log, writers * batches * size)


def test_a_malformed_message_is_kept_unchanged_and_once(log: sa.Engine) -> None:
    body = b"\x00\xff no JSON"
    append(log, [record_of(body, "test", NOW), record_of(body, "test", NOW + 1)])
    with log.connect() as connection:
        (entry,) = find(connection, Filter())
    assert (entry.type, entry.body, entry.quarantined) == (QUARANTINED, body, True)


def test_the_page_of_a_request_with_a_nul_is_not_found(log: sa.Engine) -> None:
    """The store is there, although PostgreSQL refuses such a text."""
    pages = Pages(Mock(spec=Session, reading=lambda _: reading(log)))
    with pytest.raises(LookupError):
        pages.request("a\0b", {})


def test_filters_select_by_node_job_time_transition_and_request(log: sa.Engine) -> None:
    one, two = command("node1", jobs=(1,)), command("node2", jobs=(1, 2))
    late = MOMENT + 100 * 10**9
    append(
        log,
        [
            record(event(Transition.ACCEPTED, one)),
            record(event(Transition.ACCEPTED, two)),
            record(event(Transition.COMPLETED, one, time=late)),
            record(event(Transition.FAILED, two, time=late)),
        ],
    )

    def answer(wanted: Filter) -> list[tuple[str | None, str | None]]:
        with log.connect() as connection:
            return [(entry.subject, entry.transition) for entry in find(connection, wanted)]

    assert answer(Filter(nodes=("node2", "node9"))) == [("node2", "accepted"), ("node2", "failed")]
    assert answer(Filter(job=2)) == [("node2", "accepted"), ("node2", "failed")]
    assert len(answer(Filter(job=1))) == 4
    assert answer(Filter(since=late, transitions=("failed",))) == [("node2", "failed")]
    assert answer(Filter(until=late, nodes=("node1",))) == [("node1", "accepted")]
    assert answer(Filter(request_id=one.id, transitions=("completed",))) == [("node1", "completed")]
    assert answer(Filter(limit=1)) == [("node2", "failed")]


def test_records_of_very_many_nodes_are_found(log: sa.Engine) -> None:
    """PostgreSQL takes 65,535 parameters in a statement, and SQLite may take half as many."""
    asked = command("n99999")
    began = JobEvent(JobTransition.STARTED, "test", 7, MOMENT // NS * NS, NOW, nodes=("n11111",))
    elsewhere = replace(began, job_id=8, nodes=("n0",))
    jobs = [replace(one, started_at=one.submitted_at, user="ann") for one in (began, elsewhere)]
    records = [record_of(one.to_envelope().to_json(), "test", NOW) for one in jobs]
    append(log, [record(event(Transition.ACCEPTED, asked)), *records])
    many = Filter(nodes=tuple(hosts.expand("n[1-9][1-9][1-9][1-9][1-9]")))
    assert many.nodes is not None
    assert len(many.nodes) == 59_049
    with reading(log) as connection:
        found = [one.subject for one in find(connection, many)]
        exported = [entry.subject for entry, _ in oldest_first(connection, many)]
    assert found == exported == ["n99999", "7"]


def test_the_records_of_a_request_are_in_the_order_they_happened(log: sa.Engine) -> None:
    asked = command()
    steps = [
        event(Transition.COMPLETED, asked, time=MOMENT + 3000),
        event(Transition.ACCEPTED, asked, time=MOMENT + 1000),
        event(Transition.PARKED, asked, time=MOMENT + 2000),
    ]
    append(log, [record(step) for step in steps])
    append(log, [record(event(Transition.ACCEPTED, command("other")))])
    with log.connect() as connection:
        found = [entry.transition for entry in request_records(connection, asked.id)]
    assert found == ["accepted", "parked", "completed"]


def test_a_uws_job_finds_its_requests_but_no_other_job_with_the_same_id(
    log: sa.Engine,
) -> None:
    """Slurm reuses job ids when its state is lost. Hostile or empty UWS ids find nothing."""
    older = command("node1", generation=MOMENT, jobs=(7,))
    newer = command("node2", generation=MOMENT + 100 * NS, jobs=(7,))
    others = command("node3", generation=MOMENT + 100 * NS, jobs=(8,))
    submitted = (MOMENT + 50 * NS) // NS * NS
    known = JobEvent(JobTransition.IDENTIFIED, "test", 7, submitted, MOMENT + 101 * NS, "f755f0")
    failed = replace(
        known, transition=JobTransition.FAILED, state="NODE_FAIL", cause=Cause("quota", "no")
    )
    events: list[RequestEvent | JobEvent] = [
        *(event(Transition.ACCEPTED, c, time=c.generation + NS) for c in (older, newer, others)),
        known,
        failed,
    ]
    records = [record_of(each.to_envelope().to_json(), "test", MOMENT) for each in events]
    assert append(log, records).recorded == 5
    assert append(log, records).recorded == 0
    with reading(log) as connection:
        found = find(connection, Filter(uws="f755f0"))
        assert [(e.subject, e.type.split(".")[-2]) for e in found] == [
            ("node2", "accepted"),
            ("7", "identified"),
            ("7", "failed"),
        ]
        assert len(find(connection, Filter(job=7))) == 4
        for words in ("", "' OR '1'='1", "%", "f755f", "F755F0"):
            assert find(connection, Filter(uws=words)) == []
