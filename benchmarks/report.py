"""The report over 100,000 outcomes of 1,000 nodes, against reading each outcome's event in full."""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from benchmarks.table import Figure, render
from ops.cli.session import Session
from ops.report.question import Allocation
from ops.report.report import make
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
    """Nodes that are lit for half an hour and out for half an hour, in turn; two events a request."""
    for number in range(outcomes):
        turn, node = divmod(number, NODES)
        kind, call = (Kind.SUSPEND, "os-stop") if turn % 2 else (Kind.RESUME, "os-start")
        at = MOMENT + turn * HALF_CYCLE + node * SECOND
        jobs = () if turn % 2 else (number + 1, number + 2)
        asked = command(f"node{node + 1}", kind=kind, generation=at, jobs=jobs)
        yield event(Transition.ACCEPTED, asked, time=at + SECOND)
        done = event(Transition.COMPLETED, asked, time=at + 30 * SECOND)
        act = CloudAction(call, asked.id, at + 2 * SECOND, "done")
        yield replace(done, cloud="near", address="10.0.0.1", actions=(act,))


def given(outcomes: int) -> list[Allocation]:
    """What Slurm gave: two jobs on each node that was lit, a quarter of an hour each."""
    quarter = HALF_CYCLE // 2
    found = []
    for number in range(outcomes):
        turn, node = divmod(number, NODES)
        begin = MOMENT + turn // 2 * 2 * HALF_CYCLE + node * SECOND + turn % 2 * quarter
        found.append(
            Allocation(f"node{node + 1}", number, f"user{number % 50}", begin, begin + quarter)
        )
    return found


def measure(outcomes: int, folder: Path) -> list[Figure]:
    """The figures for so many outcomes."""
    site = Installation(
        folder, "amqp://guest:guest@127.0.0.1:1/none", more=_CLOUD.format(nodes=NODES)
    )
    engine = open_store(site.settings.store.audit_url, "audit")
    pour(engine, cycles(outcomes))
    with engine.connect() as connection:
        in_full = _timed(lambda: _read_in_full(connection))
    engine.dispose()
    session, end = Session(site.config), MOMENT + (outcomes // NODES + 1) * HALF_CYCLE
    allocations = given(outcomes)
    name = f"report of {outcomes:,} outcomes"
    return [
        _figure(f"{name} --by group", 0.4, in_full, lambda: make(session, MOMENT, end, "group")),
        _figure(f"{name} --by job", 0.7, in_full, lambda: make(session, MOMENT, end, "job")),
        _figure(
            f"{name} --by group --sacct, as many allocations",
            0.5,
            in_full,
            lambda: make(session, MOMENT, end, "group", allocations, suspend_time=600 * SECOND),
        ),
        _figure(
            f"{name} --by user --sacct, as many allocations",
            0.7,
            in_full,
            lambda: make(session, MOMENT, end, "user", allocations),
        ),
        Figure(
            f"{name}, the whole command", _timed(lambda: _command(site, end)), COMMAND_SECONDS, "s"
        ),
    ]


def _figure(name: str, aim: float, baseline: float, measured: Callable[[], object]) -> Figure:
    return Figure(name, _timed(measured), aim, "s", baseline=baseline)


def _read_in_full(connection: sa.Connection) -> None:
    bodies = sa.select(audit.c.body).where(audit.c.transition == str(Transition.COMPLETED))
    for body in connection.execution_options(yield_per=5000).scalars(bodies):
        event_from(parse(body))


def _command(site: Installation, end: int) -> None:
    until = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(end // SECOND))
    said = site.lamplighter("report", "--from", "2026-01-02", "--to", until, timeout=600.0)
    if said.code or "total" not in said.out:
        raise RuntimeError(said.err)


def _timed(measured: Callable[[], object]) -> float:
    """The better of two times: others may be at work."""
    took = []
    for _ in range(2):
        begun = time.monotonic()
        measured()
        took.append(time.monotonic() - begun)
    return min(took)


def main() -> None:
    """`python -m benchmarks.report [--outcomes N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--outcomes", type=int, default=100_000)
    outcomes: int = parser.parse_args().outcomes
    with tempfile.TemporaryDirectory(prefix="lamplighter-") as folder:
        figures = measure(outcomes, Path(folder) / "site")
    print("The report (baseline: each event read in full)", render(figures), sep="\n")


if __name__ == "__main__":
    main()
