"""The usage report of 100,000 outcomes of 1,000 nodes, against parsing each outcome's event in full."""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from benchmarks.results import publish
from benchmarks.table import Figure
from benchmarks.timing import shortest, temporary_folder
from ops.cli.session import Session
from ops.report.question import Allocation
from ops.report.report import make_report
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import CloudAction, RequestEvent, Transition, event_from
from tests.testbed.auditlog import SECOND, pour
from tests.testbed.installation import Installation
from tests.testbed.messages import MOMENT, command, event
from workers.store.database import open_store
from workers.store.tables import audit

NODES = 1000
HALF_CYCLE = 1800 * SECOND
COMMAND_SECONDS = 5.0
_CLOUD = """
[clouds.near]
auth_url = "http://127.0.0.1:1/v3"
project_id = "p"
source = {{ type = "password", username = "u", password_command = ["true"] }}
[groups.all]
nodes = "node[1-{nodes}]"
cloud = "near"
"""


def cycles(outcomes: int) -> Iterator[RequestEvent]:
    """Yield two events per request: nodes run for half an hour, then are off for half an hour."""
    for number in range(outcomes):
        half, node = divmod(number, NODES)
        kind, call = (Kind.SUSPEND, "os-stop") if half % 2 else (Kind.RESUME, "os-start")
        at = MOMENT + half * HALF_CYCLE + node * SECOND
        jobs = () if half % 2 else (number + 1, number + 2)
        requested = command(f"node{node + 1}", kind=kind, generation=at, jobs=jobs)
        yield event(Transition.ACCEPTED, requested, time=at + SECOND)
        done = event(Transition.COMPLETED, requested, time=at + 30 * SECOND)
        act = CloudAction(call, requested.id, at + 2 * SECOND, "done")
        yield replace(done, cloud="near", address="10.0.0.1", actions=(act,))


def allocations(outcomes: int) -> list[Allocation]:
    """Return Slurm's allocations: two jobs on each running node, a quarter of an hour each."""
    quarter = HALF_CYCLE // 2
    found = []
    for number in range(outcomes):
        half, node = divmod(number, NODES)
        begin = MOMENT + half // 2 * 2 * HALF_CYCLE + node * SECOND + half % 2 * quarter
        found.append(
            Allocation(f"node{node + 1}", number, f"user{number % 50}", begin, begin + quarter)
        )
    return found


def measure(outcomes: int, folder: Path) -> list[Figure]:
    """Return the figures for this many outcomes."""
    site = Installation(
        folder, "amqp://guest:guest@127.0.0.1:1/none", more=_CLOUD.format(nodes=NODES)
    )
    engine = open_store(site.settings.store.audit_url, "audit")
    pour(engine, cycles(outcomes))
    with engine.connect() as connection:
        in_full = shortest(lambda: _parse_all(connection))
    engine.dispose()
    session, end = Session(site.config), MOMENT + (outcomes // NODES + 1) * HALF_CYCLE
    given = allocations(outcomes)
    name = f"report of {outcomes:,} outcomes"
    return [
        _figure(
            f"{name} --by group", 0.4, in_full, lambda: make_report(session, MOMENT, end, "group")
        ),
        _figure(f"{name} --by job", 0.7, in_full, lambda: make_report(session, MOMENT, end, "job")),
        _figure(
            f"{name} --by group --sacct, as many allocations",
            0.5,
            in_full,
            lambda: make_report(session, MOMENT, end, "group", given, suspend_time=600 * SECOND),
        ),
        _figure(
            f"{name} --by user --sacct, as many allocations",
            0.7,
            in_full,
            lambda: make_report(session, MOMENT, end, "user", given),
        ),
        Figure(
            f"{name}, the whole command",
            shortest(lambda: _command(site, end)),
            COMMAND_SECONDS,
            "s",
        ),
    ]


def _figure(name: str, aim: float, baseline: float, measured: Callable[[], object]) -> Figure:
    return Figure(name, shortest(measured), aim, "s", baseline=baseline)


def _parse_all(connection: sa.Connection) -> None:
    bodies = sa.select(audit.c.body).where(audit.c.transition == str(Transition.COMPLETED))
    for body in connection.execution_options(yield_per=5000).scalars(bodies):
        event_from(parse(body))


def _command(site: Installation, end: int) -> None:
    until = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(end // SECOND))
    result = site.lamplighter("report", "--from", "2026-01-02", "--to", until, timeout=600.0)
    if result.code or "total" not in result.out:
        raise RuntimeError(result.err)


def main() -> None:
    """`python -m benchmarks.report [--outcomes N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--outcomes", type=int, default=100_000)
    outcomes: int = parser.parse_args().outcomes
    with temporary_folder() as folder:
        figures = measure(outcomes, folder / "site")
    publish(
        f"The usage report of {outcomes:,} outcomes of {NODES:,} nodes",
        "The baseline parses each outcome's event in full; the shorter of two runs.",
        figures,
    )


if __name__ == "__main__":
    main()
