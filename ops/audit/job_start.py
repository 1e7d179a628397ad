"""When a resumed node registered with Slurm, and when its first job started, from the audit."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from
from schemas.jobs import JobEvent, JobTransition, job_event_from
from schemas.registrations import TYPE as REGISTERED
from workers.audit.queries import Entry
from workers.slurm.runs import MOST_TIMER
from workers.store.database import among
from workers.store.tables import audit

# Slurm reports times in whole seconds.
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class JobStart:
    """What followed one resume; times in ns since the epoch, None while unknown.

    Attributes:
        registered_at: when the node's slurmd started.
        job_id, started_at: the first of the waiting jobs to start.
        job_registered_at: when the slurmd of the last of that job's nodes had started.
    """

    registered_at: int | None = None
    job_id: int | None = None
    started_at: int | None = None
    job_registered_at: int | None = None

    @property
    def timer(self) -> int | None:
        """How long the job waited with all its nodes ready, ns: for slurmctld's timer of 30 s.

        None if that is not known, or it waited longer: for something else, as when it was requeued.
        """
        if self.started_at is None or self.job_registered_at is None:
            return None
        waited = self.started_at - self.job_registered_at
        return waited if waited <= MOST_TIMER else None

    @property
    def started_by(self) -> str:
        """What started the job: Slurm reports whole seconds, so that less than 2 may be nothing."""
        return "Slurm's timer" if (self.timer or 0) >= 2 * _SECOND else "Slurm"


UNKNOWN = JobStart()


def job_start(
    connection: sa.Connection,
    entries: Iterable[Entry],
    job: int | None = None,
    known: dict[tuple[int, int], int | None] | None = None,
) -> JobStart:
    """What followed a request, until the next request for its node.

    `entries` are all records of the request; there may be none. With `job`, only this job's start
    counts; by default that of any job that waited for the request. `known` keeps, between calls,
    when the last node of a job's start registered.

    Raises:
        MalformedMessageError: a record is not an event of a request.
    """
    events = [event_from(parse(entry.body)) for entry in entries]
    completed = any(event.transition is Transition.COMPLETED for event in events)
    if not completed or events[0].kind is not Kind.RESUME:
        return UNKNOWN
    jobs = {waiting.job_id for event in events for waiting in event.jobs}
    jobs = jobs if job is None else jobs & {job}
    registered, started = _registrations_and_starts(connection, events[0], jobs)
    first = min(started, key=lambda event: (event.time, event.job_id), default=None)
    # a registration has its node's time: none is after the start
    own = min((at for at in registered if first is None or at <= first.time), default=None)
    if first is None:
        return JobStart(own)
    key = first.job_id, first.time
    known = {} if known is None else known
    if key not in known:
        known[key] = _last_registration(connection, first, events[0].generation)
    return JobStart(own, *key, known[key])


def _registrations_and_starts(
    connection: sa.Connection, request: RequestEvent, jobs: Iterable[int]
) -> tuple[list[int], list[JobEvent]]:
    """The times of the node's registrations, and the starts of these jobs on it."""
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
        audit.c.time >= _whole_second(request.generation),
    )
    if until is not None:
        query = query.where(audit.c.time < until)
    registered: list[int] = []
    started: list[JobEvent] = []
    for body in connection.execute(query).scalars():
        envelope = parse(body)
        if envelope.type == REGISTERED and envelope.subject == request.node:
            registered.append(envelope.time)
        elif envelope.type == JobTransition.STARTED.type:
            event = job_event_from(envelope)
            if request.node in event.nodes:
                started.append(event)
    return registered, started


def _last_registration(connection: sa.Connection, start: JobEvent, since: int) -> int | None:
    """When the last of the job's nodes registered before its start; None if that is not recorded.

    What was before its submission, which a requeue sets again, it has not waited for.
    """
    query = sa.select(sa.func.max(audit.c.time)).where(
        among(connection.dialect.name, audit.c.subject, start.nodes),
        audit.c.type == REGISTERED,
        audit.c.time >= _whole_second(max(since, start.submitted_at)),
        audit.c.time <= start.time,
    )
    found: int | None = connection.scalar(query)
    return found


def _whole_second(time: int) -> int:
    return time // _SECOND * _SECOND
