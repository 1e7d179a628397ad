"""What is known and what became of a Slurm job on nodes of ours."""

import enum
from dataclasses import dataclass
from typing import Any

from schemas import ids
from schemas.envelope import Envelope, Fields, rfc3339
from schemas.errors import MalformedMessageError
from schemas.events import Cause, cause_from
from schemas.names import is_node_name, shown

_MOST_JOB = 2**63 - 1


class JobTransition(enum.StrEnum):
    """What is told of a job.

    IDENTIFIED: whose it is: its batch script shows the UWS job that it runs for.
    FAILED: it has ended because a node of it could not boot, as Slurm itself confirms.
    STARTED: it runs: its nodes have registered and are its own.
    ENDED: that run is over, or a requeue has ended it.
    """

    IDENTIFIED = "identified"
    FAILED = "failed"
    STARTED = "started"
    ENDED = "ended"

    @property
    def routing_key(self) -> str:
        """Where it goes on exchange power.events."""
        return f"job.{self}"

    @property
    def type(self) -> str:
        """Its CloudEvents type."""
        return f"lamplighter.{self.routing_key}.v1"


_TRANSITIONS = {transition.type: transition for transition in JobTransition}
_OF_RUNS = frozenset({JobTransition.STARTED, JobTransition.ENDED})


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One such event.

    Attributes:
        transition: what is told.
        cluster, job_id: the job.
        submitted_at: ns since the epoch, in whole seconds; with the job's id it names the job: Slurm
            counts anew when its state is lost.
        time: ns since the epoch.
        uws_id: the UWS job that it runs for, or None.
        state: Slurm's word (`NODE_FAIL`, `BOOT_FAIL`, `COMPLETED`), for a job that has failed or ended.
        nodes: those that could not boot; those that the run had.
        cause: why not.
        started_at: of a run, ns since the epoch, in whole seconds: a requeued job has several.
        user: whose run.
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
        """Derived: told twice it is the same event."""
        moments = [rfc3339(t) for t in (self.submitted_at, self.started_at) if t is not None]
        return ids.derived_id(self.routing_key, self.cluster, str(self.job_id), *moments)

    @property
    def routing_key(self) -> str:
        """Where it goes on exchange power.events."""
        return self.transition.routing_key

    def to_envelope(self) -> Envelope:
        """As it travels."""
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
            generation=0,
            correlation_id=ids.NO_CORRELATION,
            traceparent=ids.traceparent(ids.NO_CORRELATION, self.id),
            data=data,
        )


def job_event_from(envelope: Envelope) -> JobEvent:
    """The event that an envelope carries.

    Raises:
        MalformedMessageError: naming the field and the remedy; also for other types.
    """
    transition = _TRANSITIONS.get(envelope.type)
    if transition is None:
        raise MalformedMessageError(
            "type", f"{shown(envelope.type)} is no job's event", "send one of schemas/json"
        )
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
        nodes=_nodes(data),
        cause=cause_from(data.object("cause")) if failed else None,
        started_at=data.instant("started_at") if run else None,
        user=data.attribute("user") if run else None,
    )
    if (event.id, str(event.job_id)) != (envelope.id, envelope.subject):
        raise MalformedMessageError(
            "id", "or subject does not follow from the job and its times", "do not alter it"
        )
    return event


def _nodes(data: Fields) -> tuple[str, ...]:
    names = data.raw.get("nodes")
    if not isinstance(names, list) or not all(
        isinstance(n, str) and is_node_name(n) for n in names
    ):
        raise data.wrong("nodes", "must be a list of node names")
    return tuple(names)
