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
    """

    IDENTIFIED = "identified"
    FAILED = "failed"
    STARTED = "started"
    ENDED = "ended"

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.events."""
        return f"job.{self}"

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"lamplighter.{self.routing_key}.v1"


_TRANSITIONS = {transition.type: transition for transition in JobTransition}
# The fields that events of a transition lack; in an event that has one, it is ignored.
_LACKS: Mapping[JobTransition, Sequence[str]] = {
    JobTransition.IDENTIFIED: ("state", "cause", "started_at", "user"),
    JobTransition.FAILED: ("started_at", "user"),
    JobTransition.STARTED: ("state", "cause"),
    JobTransition.ENDED: ("cause",),
}


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A step of a job; times are ns since the epoch.

    Attributes:
        submitted_at: in whole seconds. It identifies the job together with the id: Slurm starts its
            ids again at 1 when its state is lost.
        uws_id: the UWS job that it runs for, or None.
        state: Slurm's job state (`NODE_FAIL`, `BOOT_FAIL`, `COMPLETED`) after it failed or ended.
        nodes: the nodes that could not boot (failed), or the nodes of the run (started, ended).
        started_at: start of the run, in whole seconds; a requeued job has several runs.
        user: the owner of the run.
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

    @property
    def id(self) -> str:
        """Derived: a second report of the step has the same id."""
        moments = [rfc3339(t) for t in (self.submitted_at, self.started_at) if t is not None]
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
    transition = _TRANSITIONS.get(envelope.type)
    if transition is None:
        raise envelope.unknown_type("a job event")
    data = Fields(envelope.data, "data.")
    lacks = dict.fromkeys(_LACKS[transition])
    event = read(
        JobEvent, data, transition=transition, cluster=envelope.source, time=envelope.time, **lacks
    )
    if transition is JobTransition.IDENTIFIED and event.uws_id is None:
        raise data.wrong("uws_id", "is missing")
    envelope.check_id(
        matches=(event.id, str(event.job_id)) == (envelope.id, envelope.subject),
        fields="subject, job_id, submitted_at and started_at",
    )
    return event
