"""What a report reads about jobs' runs: Slurm's own times, each run once, no record skipped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.report.history import NodeHistory, PoweredOn
from ops.report.question import Allocation, StartWait
from ops.report.runs import SlurmReports, slurm_reports
from schemas.errors import MalformedMessageError
from schemas.jobs import JobEvent, JobTransition
from schemas.registrations import Registration
from tests.testbed.messages import MOMENT
from tests.testbed.stores import STORES
from workers.audit.log import append
from workers.audit.record import record_of
from workers.store.database import open_store, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy as sa

NS = 1_000_000_000
DAY = MOMENT // NS * NS
NODE = NodeHistory("node1", DAY, (PoweredOn(DAY + 40 * NS, DAY + 900 * NS),), (), ())


def at(seconds: int) -> int:
    return DAY + seconds * NS


def run(job: int, begin: int, end: int | None = None, *nodes: str) -> JobEvent:
    """The start of a run, or its end if `end` is given."""
    started = JobEvent(
        JobTransition.STARTED,
        "test",
        job,
        at(0),
        at(begin),
        nodes=nodes or ("node1",),
        started_at=at(begin),
        user="ann",
    )
    if end is None:
        return started
    return replace(started, transition=JobTransition.ENDED, time=at(end), state="COMPLETED")


@pytest.fixture
def engine(run_dir: Path) -> Iterator[sa.Engine]:
    made = open_store(STORES.url(run_dir / "audit.db"), "audit")
    yield made
    made.dispose()


def record(engine: sa.Engine, *events: JobEvent | Registration) -> None:
    append(engine, [record_of(e.to_envelope().to_json(), "test", e.time) for e in events])


def reports(engine: sa.Engine, begin: int = 0, end: int = 1000) -> SlurmReports | None:
    with reading(engine) as connection:
        return slurm_reports(connection, [NODE], at(begin), at(end))


def test_a_run_lasts_until_its_end_or_its_nodes_power_off_or_the_end_of_the_report(
    engine: sa.Engine,
) -> None:
    record(engine, run(1, 50), run(1, 50, 60), run(1, 70, None, "node1", "node2"), run(2, 80, 85))
    found = reports(engine)
    assert found is not None
    assert sorted(found.allocations, key=lambda a: (a.begin, a.node)) == [
        Allocation("node1", 1, "ann", at(50), at(60)),
        Allocation("node1", 1, "ann", at(70), at(900)),
        Allocation("node2", 1, "ann", at(70), at(1000)),
        Allocation("node1", 2, "ann", at(80), at(85)),
    ]
    assert found.reported_at == {"node1": (at(50), at(60), at(70), at(85)), "node2": (at(70),)}


def test_a_run_from_before_the_report_is_found_if_its_node_is_still_powered_on(
    engine: sa.Engine,
) -> None:
    record(engine, run(1, 50))
    found = reports(engine, begin=800)
    assert found is not None
    assert [a.begin for a in found.allocations] == [at(50)]


def test_a_registration_alone_shows_that_the_node_was_idle(engine: sa.Engine) -> None:
    assert reports(engine) is None
    record(engine, Registration("test", "node1", at(40)))
    assert reports(engine) == SlurmReports((), {"node1": (at(40),)})


def test_the_wait_for_slurms_timer_is_from_the_last_registration_to_the_start(
    engine: sa.Engine,
) -> None:
    """All nodes of the job wait; later jobs on these nodes, and jobs submitted later, do not."""
    late = replace(run(3, 150), submitted_at=at(145))
    record(
        engine,
        *(Registration("test", f"node{n}", at(30 + 10 * n)) for n in (1, 2)),
        *(run(1, 70, None, "node1", "node2"), run(1, 70, 90, "node1", "node2")),
        *(run(2, 95), Registration("test", "node1", at(140)), late),
    )
    found = reports(engine)
    assert found is not None
    assert sorted(found.start_waits, key=lambda wait: wait.node) == [
        StartWait("node1", 1, at(50), at(70)),
        StartWait("node2", 1, at(50), at(70)),
    ]


def test_a_node_waits_once_however_many_jobs_start_on_it(engine: sa.Engine) -> None:
    """As the tasks of an array that share a node, or follow each other there; also in one second."""
    record(engine, *(Registration("test", "node1", at(time)) for time in (50, 200)))
    shared = [e for job in (1, 2, 3) for e in (run(job, 60), run(job, 60, 65))]
    later = [e for job in (4, 5) for e in (run(job, 62 + job), run(job, 62 + job, 63 + job))]
    record(engine, *shared, *later, run(6, 200, 200), run(7, 200))
    found = reports(engine)
    assert found is not None
    assert found.start_waits == (
        StartWait("node1", 1, at(50), at(60)),
        StartWait("node1", 6, at(200), at(200)),
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"user"', b'"loser"'), (b'"job_id":1', b'"job_id":2'), (b"ann", b"\xff"), (b"}", b"")],
)
def test_a_malformed_record_is_named(engine: sa.Engine, old: bytes, new: bytes) -> None:
    record(engine, run(1, 50))
    with engine.begin() as connection:
        (body,) = connection.exec_driver_sql("SELECT body FROM audit").one()
        connection.exec_driver_sql("UPDATE audit SET body = ?", (body.replace(old, new),))
    with pytest.raises(MalformedMessageError, match="record 1"):
        reports(engine)
