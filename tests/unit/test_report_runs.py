"""A report reads runs as all others do, also those without a recorded end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from ops.report import runs
from ops.report.history import NodeHistory, PoweredOn
from ops.report.runs import slurm_reports
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.jobs import JobEvent, JobTransition, job_event_from
from schemas.registrations import Registration
from tests.testbed.stores import STORES
from tests.testbed.strategies import job_events
from workers.audit.log import append
from workers.audit.record import record_of
from workers.store.database import open_store, reading

if TYPE_CHECKING:
    from pathlib import Path

NS = 10**9
T0 = 1_767_323_045


def at(seconds: int) -> int:
    return (T0 + seconds) * NS


RUNS = frozenset({JobTransition.STARTED, JobTransition.ENDED})


@given(job_events.filter(lambda event: event.transition in RUNS))
def test_the_short_parser_of_runs_agrees_with_the_complete_parser(event: JobEvent) -> None:
    envelope = event.to_envelope()
    whole = job_event_from(parse(envelope.to_json()))
    found = runs._parse_run(envelope.to_json(), envelope.type, envelope.subject or "", 17)
    assert (found.job_id, found.nodes, found.user) == (whole.job_id, whole.nodes, whole.user)
    assert runs._ns(found.submitted_at) == whole.submitted_at
    assert runs._ns(found.started_at) == whole.started_at


def test_a_run_that_cannot_be_parsed_is_named_by_its_record() -> None:
    """Also one whose time has no zone: it is no moment."""
    run = JobEvent(
        JobTransition.STARTED,
        "test",
        5,
        at(0),
        at(9),
        nodes=("n1",),
        started_at=at(9),
        user="ann",
    )
    envelope = run.to_envelope()
    body = envelope.to_json()
    assert runs._parse_run(body, envelope.type, "5", 17).job_id == 5
    zone = json.loads(body)["data"]["started_at"][-1]
    without = body.replace(f'{zone}"'.encode(), b'"')
    assert without != body
    with pytest.raises(MalformedMessageError, match=r"record 17: .*audit verify"):
        runs._parse_run(without, envelope.type, "5", 17)


@pytest.mark.parametrize(("started", "allocated"), [(100, 900), (1500, 0), (2100, 900)])
def test_a_run_without_an_end_does_not_outlast_the_time_its_node_was_powered_on(
    tmp_path: Path, started: int, allocated: int
) -> None:
    """Later times that the node was powered on belong to other jobs, or to none."""
    run = JobEvent(
        JobTransition.STARTED,
        "test",
        5,
        at(0),
        at(started),
        nodes=("n1",),
        started_at=at(started),
        user="ann",
    )
    times = PoweredOn(at(95), at(1000)), PoweredOn(at(2200), at(3000))
    node = NodeHistory("n1", at(0), times, (), (), "c")
    store = open_store(STORES.url(tmp_path / "audit.db"), "audit")
    events = run, Registration("test", "n1", at(2195))
    append(store, [record_of(e.to_envelope().to_json(), "test", e.time) for e in events])
    with reading(store) as connection:
        found = slurm_reports(connection, [node], at(0), at(10_000))
    store.dispose()
    assert found is not None
    assert [(a.end - a.begin) // NS for a in found.allocations] == [allocated]
