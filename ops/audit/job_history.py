"""What the audit knows of a job: the requests that it waited for, and the events about it."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ops.audit.job_start import job_start
from ops.audit.request_history import RequestHistory, request_history
from schemas.envelope import parse
from schemas.jobs import JOB_TRANSITIONS, JobEvent, JobTransition, job_event_from
from workers.audit.queries import Entry, Filter, find


@dataclass(frozen=True, slots=True)
class JobHistory:
    """The history of a job, or of all jobs that had this ID; times are ns since the epoch.

    Attributes:
        requests: the requests that it waited for, in the order in which they were made.
        events: the events about it, in the order in which they happened.
        entries: the records of both.
    """

    job_id: int
    requests: tuple[RequestHistory, ...]
    events: tuple[JobEvent, ...]
    entries: Sequence[Entry]

    @property
    def submitted_at(self) -> int | None:
        """When it was submitted; a requeue sets it again, and an ID may be used again."""
        return max((event.submitted_at for event in self.events), default=None)

    @property
    def uws_id(self) -> str | None:
        """The UWS job that it runs for."""
        return next((event.uws_id for event in reversed(self.events) if event.uws_id), None)

    @property
    def timer(self) -> int | None:
        """How long its last start waited for slurmctld's timer with all its nodes ready, ns.

        None if it waited for none of them, as a job that was requeued and started on nodes that were up.
        """
        last = self.last(JobTransition.STARTED)
        starts = (x.start for x in self.requests if last and x.start.started_at == last.time)
        return next((start.timer for start in starts), None)

    def last(self, *transitions: JobTransition) -> JobEvent | None:
        """The latest of these events."""
        found = (event for event in reversed(self.events) if event.transition in transitions)
        return next(found, None)


def job_history(connection: sa.Connection, job_id: int) -> JobHistory:
    """Read the history of a job; it is empty if the audit does not know the job.

    Raises:
        MalformedMessageError: a record cannot be parsed.
    """
    entries = find(connection, Filter(job=job_id))
    requests: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.request_id is not None:
            requests.setdefault(entry.request_id, []).append(entry)
    known: dict[tuple[int, int], int | None] = {}
    made = [request_history(x, job_start(connection, x, job_id, known)) for x in requests.values()]
    about = (entry for entry in entries if entry.type in JOB_TRANSITIONS)
    events = [job_event_from(parse(entry.body)) for entry in about]
    made.sort(key=lambda history: history.asked)
    return JobHistory(job_id, tuple(made), tuple(events), entries)
