"""What happened to a Slurm job on our nodes."""

import enum
from dataclasses import dataclass
from typing import Any

from schemas import ids
from schemas.envelope import Envelope, rfc3339
from schemas.events import Cause, cause_from
from schemas.fields import Fields

_MOST_JOB = 2**63 - 1


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
_OF_RUNS = frozenset({JobTransition.STARTED, JobTransition.ENDED})


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A step of a job.

    Attributes:
        transition: the step.
        cluster, job_id: the job.
        submitted_at: ns since the epoch, in whole seconds. It identifies the job together with the
            id: Slurm starts its ids again at 1 when its state is lost.
        time: ns since the epoch.
        uws_id: the UWS job that it runs for, or None.
        state: Slurm's job state (`NODE_FAIL`, `BOOT_FAIL`, `COMPLETED`) after the job failed or ended.
        nodes: the nodes that could not boot (failed), or the nodes of the run (started, ended).
        cause: why the nodes could not boot.
        started_at: start of the run, ns since the epoch, in whole seconds; a requeued job has
            several runs.
        user: the owner of the run.
    """

    transition: JobTransition
    cluster: str
    job_id: int
    submitted_at: int
    time: int
    uws_id: str | None = None
    state: str | None = None
    nodes: tuple[str, ...] = ()
    cause: Cause | None = None
    started_at: int | None = None
    user: str | None = None

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
        data: dict[str, Any] = {
            "job_id": self.job_id,
            "submitted_at": rfc3339(self.submitted_at),
            "nodes": list(self.nodes),
        }
        for name in ("uws_id", "state", "user"):
            if (text := getattr(self, name)) is not None:
                data[name] = text
        if self.started_at is not None:
            data["started_at"] = rfc3339(self.started_at)
        if self.cause is not None:
            data["cause"] = self.cause.to_data()
        return Envelope(
            id=self.id,
            source=self.cluster,
            type=self.transition.type,
            subject=str(self.job_id),
            time=self.time,
            traceparent=ids.traceparent(ids.NO_CORRELATION, self.id),
            data=data,
        )


def job_event_from(envelope: Envelope) -> JobEvent:
    """The job event in an envelope.

    Raises:
        MalformedMessageError: naming the field and the remedy; also for other types.
    """
    transition = _TRANSITIONS.get(envelope.type)
    if transition is None:
        raise envelope.unknown_type("a job event")
    data = Fields(envelope.data, "data.")
    failed, identified = transition is JobTransition.FAILED, transition is JobTransition.IDENTIFIED
    run = transition in _OF_RUNS
    event = JobEvent(
        transition=transition,
        cluster=envelope.source,
        job_id=data.number("job_id", least=1, most=_MOST_JOB),
        submitted_at=data.instant("submitted_at"),
        time=envelope.time,
        uws_id=data.attribute("uws_id") if "uws_id" in data.raw or identified else None,
        state=data.attribute("state") if failed or transition is JobTransition.ENDED else None,
        nodes=data.node_names("nodes"),
        cause=cause_from(data.object("cause")) if failed else None,
        started_at=data.instant("started_at") if run else None,
        user=data.attribute("user") if run else None,
    )
    envelope.check_id(
        matches=(event.id, str(event.job_id)) == (envelope.id, envelope.subject),
        fields="subject, job_id, submitted_at and started_at",
    )
    return event
