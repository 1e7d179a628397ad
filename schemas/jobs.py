"""What happened to a Slurm job on our nodes."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas import ids
from schemas.envelope import Envelope, rfc3339
from schemas.events import Cause
from schemas.fields import (
    ATTRIBUTE,
    OPTIONAL_ATTRIBUTE,
    Fields,
    nested,
    number,
    read,
    to_data,
    wire,
)

_INSTANT = wire(Fields.instant, rfc3339)


class JobTransition(enum.StrEnum):
    """A step in the life of a job.

    IDENTIFIED: its batch script names the UWS job that it runs for.
    FAILED: it ended because one of its nodes could not boot, and Slurm confirms it.
    STARTED: it runs: its nodes have registered and are allocated to it.
    ENDED: the run is over, or a requeue ended it.
    WAITING: it belongs to a UWS job, and waits for nodes that are out of service after failed boots.
    FINISHED: it belongs to a UWS job, and has left Slurm for good, whether it ran or not.
    """

    IDENTIFIED = "identified"
    FAILED = "failed"
    STARTED = "started"
    ENDED = "ended"
    WAITING = "waiting"
    FINISHED = "finished"

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.events."""
        return f"job.{self}"

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"lamplighter.{self.routing_key}.v1"


# By type.
JOB_TRANSITIONS = {transition.type: transition for transition in JobTransition}
# The fields that events of a transition lack; in an event that has one, it is ignored.
_LACKS: Mapping[JobTransition, Sequence[str]] = {
    JobTransition.IDENTIFIED: ("state", "cause", "started_at", "user", "returns_at"),
    JobTransition.FAILED: ("started_at", "user", "returns_at"),
    JobTransition.STARTED: ("state", "cause", "returns_at"),
    JobTransition.ENDED: ("cause", "returns_at"),
    JobTransition.WAITING: ("state", "started_at", "user"),
    JobTransition.FINISHED: ("cause", "started_at", "user", "returns_at"),
}
_OF_UWS = frozenset({JobTransition.IDENTIFIED, JobTransition.WAITING, JobTransition.FINISHED})


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A step of a job; times are ns since the epoch.

    Attributes:
        submitted_at: in whole seconds. It identifies the job together with the id: Slurm starts its
            ids again at 1 when its state is lost.
        uws_id: the UWS job that it runs for, or None.
        state: Slurm's job state (`NODE_FAIL`, `BOOT_FAIL`, `COMPLETED`) after it failed or ended; `GONE`
            if Slurm no longer shows the job.
        nodes: the nodes that could not boot (failed), the nodes of the run (started, ended, finished),
            or the nodes that are out of service (waiting).
        started_at: start of the run, in whole seconds; a requeued job has several runs.
        user: the owner of the run.
        returns_at: when the first of the nodes returns to service.
    """

    transition: JobTransition
    cluster: str
    job_id: int = field(metadata=number(least=1))
    submitted_at: int = field(metadata=_INSTANT)
    time: int
    uws_id: str | None = field(default=None, metadata=OPTIONAL_ATTRIBUTE)
    state: str | None = field(default=None, metadata=ATTRIBUTE)
    nodes: tuple[str, ...] = field(default=(), metadata=wire(Fields.node_names, list))
    cause: Cause | None = field(default=None, metadata=nested(Cause))
    started_at: int | None = field(default=None, metadata=_INSTANT)
    user: str | None = field(default=None, metadata=ATTRIBUTE)
    returns_at: int | None = field(default=None, metadata=_INSTANT)

    @property
    def id(self) -> str:
        """Derived: a second report of the step has the same id."""
        found = (self.submitted_at, self.started_at, self.returns_at)
        moments = [rfc3339(moment) for moment in found if moment is not None]
        return ids.derived_id(self.routing_key, self.cluster, str(self.job_id), *moments)

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.events."""
        return self.transition.routing_key

    def to_envelope(self) -> Envelope:
        """The message's envelope."""
        return Envelope.around(self, self.transition.type, str(self.job_id), to_data(self))


def job_event_from(envelope: Envelope) -> JobEvent:
    """The job event in an envelope; raises MalformedMessageError, also for other types."""
    transition = JOB_TRANSITIONS.get(envelope.type)
    if transition is None:
        raise envelope.unknown_type("a job event")
    data = Fields(envelope.data, "data.")
    lacks = dict.fromkeys(_LACKS[transition])
    event = read(
        JobEvent, data, transition=transition, cluster=envelope.source, time=envelope.time, **lacks
    )
    if transition in _OF_UWS and event.uws_id is None:
        raise data.wrong("uws_id", "is missing")
    envelope.check_id(
        matches=(event.id, str(event.job_id)) == (envelope.id, envelope.subject),
        fields="subject, job_id, submitted_at, started_at and returns_at",
    )
    return event
