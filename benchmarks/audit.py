"""Write, list and verify an audit of a million records, on SQLite and on PostgreSQL.

Queries are timed as whole commands, the start of Python included.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from benchmarks.results import publish
from benchmarks.table import Figure
from benchmarks.timing import duration, shortest, temporary_folder
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.auditlog import SECOND, fill, flood
from tests.testbed.installation import Installation
from tests.testbed.messages import MOMENT
from tests.testbed.postgresql import PostgreSQL
from workers.audit.log import append
from workers.audit.record import Record, record_of
from workers.store.database import open_store

# The aims.
LIST_SECONDS = 1.0
QUESTION_SECONDS = 5.0
VERIFIED_PER_SECOND = 50_000.0
WRITTEN_PER_SECOND = 2_000.0
_UWS_ID = "f755f0"
_SAMPLE = 20_000


def measure(kind: str, url: str, records: int, folder: Path) -> Iterator[Figure]:
    """Yield the figures for one database with this many records."""
    site = Installation(
        folder / kind,
        "amqp://guest:guest@127.0.0.1:1/none",
        store=f'url = "sqlite:///state.db"\naudit_url = "{url}"',
    )
    engine = open_store(url, "audit")
    written = duration(partial(fill, engine, _SAMPLE // 2))
    print(f"{kind}: {_SAMPLE / written:.0f} records/s created and written", flush=True)
    flood(engine, (records - _SAMPLE) // 2, begin=MOMENT + _SAMPLE // 2 * SECOND)
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:  # autovacuum would do so later
            connection.execute(sa.text("ANALYZE"))
    append(engine, [_uws_record(records // 40)])
    engine.dispose()
    aim = _SAMPLE / WRITTEN_PER_SECOND
    yield Figure(f"{kind}: {_SAMPLE:,} records created and written", written, aim, "s")
    middle = _time(records // 4)
    for words in (
        ("list",),
        ("list", "--node", "node7"),
        ("list", "--node", "node[1-100]", "--outcome", "failed"),
        ("list", "--job", str(records // 40)),
        ("list", "--uws", _UWS_ID),
        ("list", "--outcome", "failed"),
        ("list", "--since", middle, "--until", _time(records // 4 + 600)),
        ("list", "--since", _time(0), "--until", middle),
        ("list", "--node", "node7", "--since", middle),
        ("why", str(records // 40)),
        ("failures", "--since", _time(records // 2 - 7 * 86_400)),
        ("slowest", "--since", _time(records // 2 - 7 * 86_400)),
    ):
        name = " ".join(words)
        aim = QUESTION_SECONDS if words[0] in {"failures", "slowest"} else LIST_SECONDS
        yield Figure(f"{kind}: audit {name}", _timed(site, *words), aim, "s")
    verified, aim = _timed(site, "verify"), records / VERIFIED_PER_SECOND
    yield Figure(f"{kind}: audit verify, {records:,} records", verified, aim, "s")


def _uws_record(job: int) -> Record:
    """Return the record that links a job to its UWS job."""
    event = JobEvent(JobTransition.IDENTIFIED, "test", job, MOMENT, MOMENT, uws_id=_UWS_ID)
    return record_of(event.to_envelope().to_json(), "test", MOMENT)


def _time(request: int) -> str:
    """Return the time of the request with this number."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(MOMENT // SECOND + request))


def _timed(site: Installation, *arguments: str) -> float:
    """Return the seconds of a command, the shorter of two runs."""

    def run() -> None:
        result = site.lamplighter("audit", *arguments, timeout=600.0)
        if result.code or not result.out:
            raise RuntimeError(f"{arguments}: {result.err}")

    seconds = shortest(run)
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
        folder = stack.enter_context(temporary_folder())
        for kind in options.on:
            if kind == "sqlite":
                url = f"sqlite:///{folder}/audit.db"
            else:
                url = stack.enter_context(
                    PostgreSQL(folder / "postgresql", settings=())
                ).create_database()
            figures += measure(kind, url, options.records, folder)
    publish(
        f"An audit of {options.records:,} records, on SQLite and PostgreSQL",
        "Queries are whole commands, the start of Python included; the shorter of two runs.",
        figures,
    )


if __name__ == "__main__":
    main()
