"""What the hooks ask: raise a node's desired state to this generation, then reconcile the node."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas import ids
from schemas.envelope import Envelope, Fields, fit, parse
from schemas.errors import MalformedMessageError
from schemas.names import is_node_name, shown


class Desired(enum.StrEnum):
    """What is wanted of a node.

    UP and DOWN are Slurm's. The others are an operator's: READY is deployed and put out, GONE has no
    server, ADOPTED has one that carries our tags, BAKED is put out and has been made an image of.
    """

    UP = "up"
    DOWN = "down"
    READY = "ready"
    GONE = "gone"
    ADOPTED = "adopted"
    BAKED = "baked"


class Kind(enum.StrEnum):
    """Which hook asked, or which command of an operator's."""

    RESUME = "resume"
    SUSPEND = "suspend"
    RESUME_FAIL = "resume_fail"
    DEPLOY = "deploy"
    RETIRE = "retire"
    ADOPT = "adopt"
    BAKE = "bake"

    @property
    def desired(self) -> Desired:
        """The state asked for; a failed resume wants its node down, so that nothing leaks."""
        return _DESIRED[self]

    @property
    def routing_key(self) -> str:
        """Where its commands go on exchange power.commands."""
        return _ROUTING_KEYS[self]

    @property
    def type(self) -> str:
        """The CloudEvents type of its commands."""
        return f"lamplighter.{self.routing_key}.v1"


_ROUTING_KEYS: Mapping[Kind, str] = {
    Kind.RESUME: "node.resume.requested",
    Kind.SUSPEND: "node.suspend.requested",
    Kind.RESUME_FAIL: "node.resume_fail.reported",
    Kind.DEPLOY: "node.deploy.requested",
    Kind.RETIRE: "node.retire.requested",
    Kind.ADOPT: "node.adopt.requested",
    Kind.BAKE: "node.bake.requested",
}
_DESIRED: Mapping[Kind, Desired] = {
    Kind.RESUME: Desired.UP,
    Kind.SUSPEND: Desired.DOWN,
    Kind.RESUME_FAIL: Desired.DOWN,
    Kind.DEPLOY: Desired.READY,
    Kind.RETIRE: Desired.GONE,
    Kind.ADOPT: Desired.ADOPTED,
    Kind.BAKE: Desired.BAKED,
}
_KINDS = {kind.type: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that waits for the node, as SLURM_RESUME_FILE told it; its strings are hostile."""

    job_id: int
    features: str | None = None
    partition: str | None = None
    reservation: str | None = None

    def to_data(self) -> dict[str, Any]:
        """As it travels; what is unknown is left out."""
        data: dict[str, Any] = {"job_id": self.job_id}
        for name in ("features", "partition", "reservation"):
            if text := getattr(self, name):
                data[name] = fit(text)
        return data


@dataclass(frozen=True, slots=True)
class PowerCommand:
    """One node's request.

    Attributes:
        kind: which hook asked.
        cluster, node: whom it concerns.
        generation: the fencing number, also the time it was asked (ns since the epoch).
        correlation_id: the hook call.
        expiry: ns since the epoch after which Slurm has given up waiting, or None.
        jobs: who waits; empty for a suspend.
        origin: the host whose hook asked.
        note: what went wrong while the request was made, or an operator's words, or None.
        image: the name of the image to make of the node; for a bake alone.
    """

    kind: Kind
    cluster: str
    node: str
    generation: int
    correlation_id: str
    expiry: int | None = None
    jobs: tuple[WaitingJob, ...] = ()
    origin: str = "unknown"
    note: str | None = None
    image: str | None = None

    @property
    def id(self) -> str:
        """The request's id, the same however often it is sent."""
        return ids.request_id(self.generation, self.correlation_id, self.node)

    @property
    def desired(self) -> Desired:
        """What is asked."""
        return self.kind.desired

    def to_envelope(self) -> Envelope:
        """As it travels."""
        data: dict[str, Any] = {"origin": self.origin, "jobs": [j.to_data() for j in self.jobs]}
        if self.note:
            data["note"] = fit(self.note)
        if self.image:
            data["image"] = self.image
        return Envelope(
            id=self.id,
            source=self.cluster,
            type=self.kind.type,
            subject=self.node,
            time=self.generation,
            generation=self.generation,
            correlation_id=self.correlation_id,
            traceparent=ids.traceparent(self.correlation_id, self.id),
            expiry=self.expiry,
            data=data,
        )


def parse_command(body: bytes) -> PowerCommand:
    """Read one command.

    Raises:
        MalformedMessageError: naming the field and the remedy.
    """
    return command_from(parse(body))


def command_from(envelope: Envelope) -> PowerCommand:
    """The command an envelope carries.

    Raises:
        MalformedMessageError: naming the field and the remedy.
    """
    kind = _KINDS.get(envelope.type)
    if kind is None:
        raise MalformedMessageError(
            "type",
            f"{shown(envelope.type)} is no command",
            f"send one of {', '.join(_KINDS)}",
        )
    if not is_node_name(envelope.subject):
        raise MalformedMessageError(
            "subject", f"{shown(envelope.subject)} is no node name", "send Slurm's node name"
        )
    if envelope.generation <= 0:
        raise MalformedMessageError("generation", "must be above 0", "stamp it in the hook")
    data = Fields(envelope.data, "data.")
    command = PowerCommand(
        kind=kind,
        cluster=envelope.source,
        node=envelope.subject,
        generation=envelope.generation,
        correlation_id=envelope.correlation_id,
        expiry=envelope.expiry,
        jobs=tuple(job_from(fields) for fields in data.objects("jobs")),
        origin=data.text("origin"),
        note=data.text_or_none("note"),
        image=data.attribute("image") if kind is Kind.BAKE else None,
    )
    if command.id != envelope.id:
        raise MalformedMessageError(
            "id", "does not follow from generation, correlationid and subject", "do not alter it"
        )
    return command


def job_from(fields: Fields) -> WaitingJob:
    """One waiting job, as it travels."""
    return WaitingJob(
        job_id=fields.number("job_id", least=1),
        features=fields.text_or_none("features"),
        partition=fields.text_or_none("partition"),
        reservation=fields.text_or_none("reservation"),
    )
