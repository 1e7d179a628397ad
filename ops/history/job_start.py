"""What Slurm made of a node that was resumed: when it registered, and which job began on it first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import RequestEvent, Transition, event_from
from schemas.jobs import JobTransition, job_event_from
from schemas.registrations import TYPE as REGISTERED
from workers.store.tables import audit

# What Slurm says, it says in whole seconds.
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class JobStart:
    """Of one resume; times are ns since the epoch, None for what is not known (yet).

    Attributes:
        registered_at: when the node's slurmd had started.
        job_id, started_at: the first job that the node was resumed for and that ran on it.
    """

    registered_at: int | None = None
    job_id: int | None = None
    started_at: int | None = None


UNKNOWN = JobStart()


def job_start(
    connection: sa.Connection, bodies: Sequence[bytes], job: int | None = None
) -> JobStart:
    """What came of the request that these events tell of, until something else was asked of its node.

    Args:
        connection: to the audit.
        bodies: all that the audit has of one request, in order.
        job: the one job that is asked about; of all that waited, where it is None.

    Raises:
        MalformedMessageError: one is no event of a request.
    """
    events = [event_from(parse(body)) for body in bodies]
    lit = any(event.transition is Transition.COMPLETED for event in events)
    if not lit or events[0].kind is not Kind.RESUME:
        return UNKNOWN
    asked = events[0]
    jobs = {waiting.job_id for event in events for waiting in event.jobs}
    jobs = jobs if job is None else jobs & {job}
    found = _told(connection, asked, jobs)
    registered = [time for time, told in found if told is None]
    started = [(time, told) for time, told in found if told is not None]
    started_at, job_id = min(started, default=(None, None))
    return JobStart(min(registered, default=None), job_id, started_at)


def _told(
    connection: sa.Connection, asked: RequestEvent, jobs: Iterable[int]
) -> list[tuple[int, int | None]]:
    """The registrations (None) and the starts of these jobs on the node, with their times."""
    newer = sa.select(sa.func.min(audit.c.generation)).where(
        audit.c.subject == asked.node,
        # an expression is in no index: SQLite would rather look at all that was ever accepted
        audit.c.transition + "" == str(Transition.ACCEPTED),
        audit.c.generation > asked.generation,
    )
    until = connection.execute(newer).scalar()
    query = sa.select(audit.c.body).where(
        audit.c.subject.in_((asked.node, *map(str, jobs))),
        audit.c.type.in_((REGISTERED, JobTransition.STARTED.type)),
        audit.c.time >= asked.generation // _SECOND * _SECOND,
    )
    if until is not None:
        query = query.where(audit.c.time < until)
    found: list[tuple[int, int | None]] = []
    for body in connection.execute(query).scalars():
        envelope = parse(body)
        if envelope.type == REGISTERED and envelope.subject == asked.node:
            found.append((envelope.time, None))
        elif envelope.type == JobTransition.STARTED.type:
            event = job_event_from(envelope)
            if asked.node in event.nodes:
                found.append((event.time, event.job_id))
    return found
