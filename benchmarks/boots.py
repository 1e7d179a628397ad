"""What a boot takes beyond the cloud's own time: to the start call, and from ACTIVE to the outcome."""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmarks.fleet import PASSWORD_SOURCE
from benchmarks.results import publish
from benchmarks.system import BenchSystem
from benchmarks.table import Figure
from benchmarks.timing import temporary_folder
from schemas.envelope import parse
from schemas.events import Transition, event_from
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from workers.store.database import connect, reading
from workers.store.tables import audit

if TYPE_CHECKING:
    from schemas.events import RequestEvent

BOOT = 3.3
RUNS = 12
# Boots until the pace of the listings is learned: workers.power.state.
LEARNING = 3
CALL, SEEN = 0.5, 0.4


def main() -> None:
    """`python -m benchmarks.boots [--runs N] [--boot SECONDS]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--boot", type=float, default=BOOT)
    options = parser.parse_args()
    boot: float = options.boot
    listings: list[int] = []
    with temporary_folder() as folder, ExitStack() as stack:
        cloud = stack.enter_context(SimCloud())
        cloud.set(boot_seconds=boot, stop_seconds=0.5, latency_seconds=0.02)
        cloud.add_servers(["node1"])
        system = BenchSystem(
            cloud,
            nodes=1,
            source=PASSWORD_SOURCE,
            secret=credentials.PASSWORD,
            folder=folder,
            stack=stack,
        )
        for _ in range(LEARNING + options.runs):
            before = cloud.counts().get("list_detail", 0)
            system.request("resume")
            listings.append(cloud.counts().get("list_detail", 0) - before)
            system.request("suspend")
        boots = _boots(system)
    called = [event.actions[-1].time - event.generation for event in boots]
    seen = [event.time - event.actions[-1].time - int(boot * 1e9) for event in boots]
    usual = statistics.mean(listings[:LEARNING])
    figures = [
        Figure("hook's call to the start call, median", statistics.median(called) / 1e9, CALL, "s"),
        Figure(
            "ACTIVE to the outcome, median",
            statistics.median(seen[LEARNING:]) / 1e9,
            SEEN,
            "s",
        ),
        Figure("listings of a boot", statistics.mean(listings[LEARNING:]), 1.0, "", usual),
    ]
    print(f"  ACTIVE to the outcome of the first {LEARNING}, mean: {_mean(seen[:LEARNING])}")
    publish(
        "What a boot takes beyond the cloud's own time",
        f"{options.runs} boots of {boot:g} s of one node on the simulated cloud, one after the other. The baseline of "
        f"the listings is the mean of {LEARNING} boots before, in which the worker learns the cloud's pace.",
        figures,
    )


def _mean(times: list[int]) -> str:
    return f"{statistics.mean(times) / 1e9:.2f} s"


def _boots(system: BenchSystem) -> list[RequestEvent]:
    """The completed resumes, in order."""
    query = (
        sa.select(audit.c.body)
        .where(audit.c.transition == str(Transition.COMPLETED))
        .order_by(audit.c.time)
    )
    engine = connect(system.settings.store.audit_url)
    with reading(engine) as connection:
        events = [event_from(parse(body)) for body in connection.execute(query).scalars()]
    engine.dispose()
    return [one for one in events if any(x.action == "os-start" for x in one.actions)]


if __name__ == "__main__":
    main()
