"""The audit with a million records, on SQLite and on PostgreSQL: written, listed, verified, exported.

Listing is timed as a whole command, Python's start included, and verifying too.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from benchmarks.table import Figure, render
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.auditlog import SECOND, fill, flood
from tests.testbed.installation import Installation
from tests.testbed.messages import MOMENT
from tests.testbed.postgresql import PostgreSQL
from workers.audit.log import append
from workers.audit.record import Record, record_of
from workers.store.database import open_store

LIST_SECONDS = 1.0
VERIFIED_A_SECOND = 50_000.0
WRITTEN_A_SECOND = 2_000.0
UWS = "f755f0"
_SAMPLE = 20_000


def measure(kind: str, url: str, records: int, folder: Path) -> Iterator[Figure]:
    """The figures for one database with so many records."""
    site = Installation(
        folder / kind,
        "amqp://guest:guest@127.0.0.1:1/none",
        store=f'url = "sqlite:///state.db"\naudit_url = "{url}"',
    )
    engine = open_store(url, "audit")
    begun = time.monotonic()
    fill(engine, _SAMPLE // 2)
    written = time.monotonic() - begun
    print(f"{kind}: {_SAMPLE / written:.0f} records/s made and written", flush=True)
    flood(engine, (records - _SAMPLE) // 2, begin=MOMENT + _SAMPLE // 2 * SECOND)
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:  # as its autovacuum does by itself after a while
            connection.execute(sa.text("ANALYZE"))
    append(engine, [_identified(records // 40)])
    engine.dispose()
    aim = _SAMPLE / WRITTEN_A_SECOND
    yield Figure(f"{kind}: {_SAMPLE:,} records made and written", written, aim, "s")
    middle = _time(records // 4)
    for words in (
        ("list",),
        ("list", "--node", "node7"),
        ("list", "--node", "node[1-100]", "--outcome", "failed"),
        ("list", "--job", str(records // 40)),
        ("list", "--uws", UWS),
        ("list", "--outcome", "failed"),
        ("list", "--since", middle, "--until", _time(records // 4 + 600)),
        ("list", "--since", _time(0), "--until", middle),
        ("list", "--node", "node7", "--since", middle),
        ("why", str(records // 40)),
        ("failures", "--since", _time(records // 2 - 7 * 86_400)),
        ("slowest", "--since", _time(records // 2 - 7 * 86_400)),
    ):
        name = " ".join(words)
        question = words[0] in {"failures", "slowest"}
        yield Figure(
            f"{kind}: audit {name}", _timed(site, *words), 5.0 if question else LIST_SECONDS, "s"
        )
    verified = _timed(site, "verify")
    yield Figure(
        f"{kind}: audit verify, {records:,} records", verified, records / VERIFIED_A_SECOND, "s"
    )


def _identified(job: int) -> Record:
    """That a job runs for a UWS job."""
    told = JobEvent(JobTransition.IDENTIFIED, "test", job, MOMENT, MOMENT, uws_id=UWS)
    return record_of(told.to_envelope().to_json(), "test", MOMENT)


def _time(request: int) -> str:
    """When the so-many-th request was asked."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(MOMENT // SECOND + request))


def _timed(site: Installation, *arguments: str) -> float:
    """The better of two times: others may be at work."""
    took = []
    for _ in range(2):
        begun = time.monotonic()
        said = site.lamplighter("audit", *arguments, timeout=600.0)
        took.append(time.monotonic() - begun)
        if said.code or not said.out:
            raise RuntimeError(f"{arguments}: {said.err}")
    seconds = min(took)
    print(f"{seconds:.2f} s: audit {' '.join(arguments)}", flush=True)
    return seconds


def main() -> None:
    """`python -m benchmarks.audit [--records N] [--on sqlite postgresql]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--on", nargs="*", default=["sqlite", "postgresql"])
    options = parser.parse_args()
    figures: list[Figure] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamplighter-")))
        folder.chmod(0o755)
        for kind in options.on:
            if kind == "sqlite":
                url = f"sqlite:///{folder}/audit.db"
            else:
                url = stack.enter_context(PostgreSQL(folder / "postgresql")).create_database()
            figures += measure(kind, url, options.records, folder)
    print("The audit (whole commands)", render(figures), sep="\n")


if __name__ == "__main__":
    main()
