"""Reads the data for a report: outcomes from the audit, the configuration, sacct's output."""

import time
from collections.abc import Iterable, Iterator
from datetime import datetime

import sqlalchemy as sa

from ops.report.outcome import Recorded, ReportedOutcome, outcome
from ops.report.question import Allocation, NodePlace
from producers.hosts import expand
from producers.settings import ConfigError, read_toml
from schemas.errors import MalformedMessageError
from schemas.events import ENDS, Transition
from schemas.fields import shown
from schemas.numbers import whole_number
from workers.config.settings import Settings
from workers.store.tables import audit

_RECORDED = ("seq", "transition", "subject", "generation", "time", "body")
_COLUMNS = ("JobIDRaw", "User", "NodeList", "Start", "End")
_NS = 1_000_000_000


def outcomes(connection: sa.Connection, begin: int, end: int) -> Iterator[ReportedOutcome]:
    """The outcomes before `end`, from each node's last completed one before `begin` on (ns).

    That last outcome shows the node's state at `begin`, or else an older one does. A
    MalformedMessageError names a record that cannot be parsed.
    """
    before = (
        sa.select(audit.c.subject, sa.func.max(audit.c.time).label("latest"))
        .where(audit.c.transition == str(Transition.COMPLETED), audit.c.time < begin)
        .group_by(audit.c.subject)
        .subquery()
    )
    columns = (audit.c[name] for name in _RECORDED)
    every = sa.select(*columns).where(audit.c.transition.in_(ENDS))
    query = every.outerjoin(before, before.c.subject == audit.c.subject).where(
        audit.c.time < end,
        audit.c.time >= sa.func.coalesce(before.c.latest, 0),
    )
    # always close it: on PostgreSQL it is a server-side cursor
    unclear: dict[str, int] = {}
    with connection.execute(query.execution_options(yield_per=5000)) as rows:
        for row in rows:
            found = outcome(Recorded(*row))
            if found.time < begin and _is_completed(found) and not found.is_about_power:
                unclear[found.node] = found.time
            yield found
    for node, time_ in unclear.items():
        older = every.where(audit.c.subject == node, audit.c.time < time_)
        query = older.order_by(audit.c.time.desc(), audit.c.seq.desc())
        with connection.execute(query.execution_options(yield_per=100)) as rows:
            for row in rows:
                found = outcome(Recorded(*row))
                yield found
                if _is_completed(found) and found.is_about_power:
                    break


def _is_completed(found: ReportedOutcome) -> bool:
    return found.transition is Transition.COMPLETED


def places(settings: Settings) -> dict[str, NodePlace]:
    """Where each configured node belongs."""
    clouds = read_toml(settings.path).get("clouds", {})
    vos = {name: cloud.get("vo") for name, cloud in clouds.items() if isinstance(cloud, dict)}
    found = {}
    for node, name in settings.nodes.items():
        group = settings.groups[name]
        found[node] = NodePlace(name, group.cloud, group.strategy, vos.get(group.cloud))
    return found


def allocations(lines: Iterable[str]) -> list[Allocation]:
    """Parse the output of `sacct --allocations --parsable2 --format=JobIDRaw,User,NodeList,Start,End`.

    sacct(1) prints seconds with SLURM_TIME_FORMAT=%s, otherwise local times without a zone, of which
    one hour of the year comes twice; running jobs have the end Unknown.

    Raises:
        ConfigError: a line cannot be parsed; the message names it and the remedy.
    """
    rows = (line.rstrip("\n").split("|") for line in lines)
    if tuple(next(rows, ())) != _COLUMNS:
        raise ConfigError(
            "--sacct: wrong columns; run sacct --allusers --allocations --duplicates --parsable2 "
            f"--format={','.join(_COLUMNS)}"
        )
    found: list[Allocation] = []
    for number, row in enumerate(rows, 2):
        try:
            job, user, nodes, begin, end = row
            if nodes in {"", "None assigned"} or begin in {"Unknown", "None"}:
                continue
            begins = _moment(begin)
            ends = time.time_ns() if end == "Unknown" else _moment(end, begins)
            job_id = whole_number(job, least=1)
            if job_id is None:
                raise ValueError(f"{shown(job)} is not a job's own number")  # noqa: TRY301
            found += [Allocation(n, job_id, user, begins, ends) for n in expand(nodes)]
        except (ValueError, OverflowError, MalformedMessageError) as error:
            raise ConfigError(f"--sacct: line {number}: {error}") from None
    return found


def _moment(text: str, after: int = 0) -> int:
    """A time of sacct; a local one that comes twice is the later one if the first is not after `after`."""
    seconds = whole_number(text)
    if seconds is not None:
        return seconds * _NS
    local = datetime.fromisoformat(text)
    first, second = (local.replace(fold=fold).astimezone().timestamp() for fold in (0, 1))
    return int(first if first * _NS >= after else second) * _NS
