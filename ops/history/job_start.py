"""When a resumed node registered with Slurm, and when its first job started, from the audit."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from
from schemas.jobs import JobTransition, job_event_from
from schemas.registrations import TYPE as REGISTERED
from workers.audit.queries import Entry
from workers.store.tables import audit

# Slurm reports times in whole seconds.
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class JobStart:
    """What followed one resume; times in ns since the epoch, None while unknown.

    slurmd started at `registered_at`, and the first of the waiting jobs at `started_at`.
    """

    registered_at: int | None = None
    job_id: int | None = None
    started_at: int | None = None


UNKNOWN = JobStart()


def job_start(
    connection: sa.Connection, entries: Iterable[Entry], job: int | None = None
) -> JobStart:
    """What followed a request, until the next request for its node.

    Args:
        connection: to the audit.
        entries: all records of the request; may be empty.
        job: only this job's start; by default that of any job that waited for the request.

    Raises:
        MalformedMessageError: a record is not an event of a request.
    """
    events = [event_from(parse(entry.body)) for entry in entries]
    completed = any(event.transition is Transition.COMPLETED for event in events)
    if not completed or events[0].kind is not Kind.RESUME:
        return UNKNOWN
    jobs = {waiting.job_id for event in events for waiting in event.jobs}
    jobs = jobs if job is None else jobs & {job}
    found = _registrations_and_starts(connection, events[0], jobs)
    registered = [time for time, job_id in found if job_id is None]
    started = [(time, job_id) for time, job_id in found if job_id is not None]
    started_at, job_id = min(started, default=(None, None))
    return JobStart(min(registered, default=None), job_id, started_at)


def _registrations_and_starts(
    connection: sa.Connection, request: RequestEvent, jobs: Iterable[int]
) -> list[tuple[int, int | None]]:
    """The times of the node's registrations (None) and of starts of these jobs on it."""
    newer = sa.select(sa.func.min(audit.c.generation)).where(
        audit.c.subject == request.node,
        # an expression has no index: otherwise SQLite would scan all accepted requests
        audit.c.transition + "" == str(Transition.ACCEPTED),
        audit.c.generation > request.generation,
    )
    until = connection.execute(newer).scalar()
    query = sa.select(audit.c.body).where(
        audit.c.subject.in_((request.node, *map(str, jobs))),
        audit.c.type.in_((REGISTERED, JobTransition.STARTED.type)),
        audit.c.time >= request.generation // _SECOND * _SECOND,
    )
    if until is not None:
        query = query.where(audit.c.time < until)
    found: list[tuple[int, int | None]] = []
    for body in connection.execute(query).scalars():
        envelope = parse(body)
        if envelope.type == REGISTERED and envelope.subject == request.node:
            found.append((envelope.time, None))
        elif envelope.type == JobTransition.STARTED.type:
            event = job_event_from(envelope)
            if request.node in event.nodes:
                found.append((event.time, event.job_id))
    return found
