"""A request for a node: raise its desired state to this generation, then reconcile the node."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas import ids
from schemas.envelope import Envelope, parse
from schemas.errors import MalformedMessageError
from schemas.fields import (
    OPTIONAL_ATTRIBUTE,
    OPTIONAL_TEXT,
    TEXT,
    Fields,
    many,
    number,
    read,
    to_data,
)


class Desired(enum.StrEnum):
    """The state that a node is to reach.

    Slurm requests UP and DOWN; operators request the others:
    READY: the node has a server, powered off.
    GONE: the node has no server.
    ADOPTED: the node's server carries our tags.
    BAKED: the node is powered off, and an image was made of its server.
    """

    UP = "up"
    DOWN = "down"
    READY = "ready"
    GONE = "gone"
    ADOPTED = "adopted"
    BAKED = "baked"


class Kind(enum.StrEnum):
    """The hook, or the operator's command, that sent a request."""

    RESUME = "resume"
    SUSPEND = "suspend"
    RESUME_FAIL = "resume_fail"
    DEPLOY = "deploy"
    RETIRE = "retire"
    ADOPT = "adopt"
    BAKE = "bake"

    @property
    def desired(self) -> Desired:
        """The requested state; after a failed resume the node goes down, so that no server leaks."""
        return _DESIRED[self]

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.commands."""
        return f"node.{self}.{'reported' if self is Kind.RESUME_FAIL else 'requested'}"

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"lamplighter.{self.routing_key}.v1"


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
    """A job that waits for the node, from SLURM_RESUME_FILE; its strings are untrusted."""

    job_id: int = field(metadata=number(least=1))
    features: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    partition: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    reservation: str | None = field(default=None, metadata=OPTIONAL_TEXT)


@dataclass(frozen=True, slots=True)
class PowerCommand:
    """A request for one node.

    Attributes:
        generation: the fencing number, also the time of the request (ns since the epoch).
        correlation_id: the hook call.
        expiry: when Slurm stops waiting (ns since the epoch), or None.
        jobs: the waiting jobs; empty for a suspend.
        origin: the host of the hook.
        note: what went wrong while the request was made, or the operator's reason, or None.
        image: the name of the image to make; only for a bake.
        id: the request's id, the same each time it is sent.
    """

    kind: Kind
    cluster: str
    node: str
    generation: int
    correlation_id: str
    expiry: int | None = None
    jobs: tuple[WaitingJob, ...] = field(default=(), metadata=many(WaitingJob))
    origin: str = field(default="unknown", metadata=TEXT)
    note: str | None = field(default=None, metadata=OPTIONAL_TEXT)
    image: str | None = field(default=None, metadata=OPTIONAL_ATTRIBUTE)

    id: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        made = ids.request_id(self.generation, self.correlation_id, self.node)
        object.__setattr__(self, "id", made)

    @property
    def desired(self) -> Desired:
        """The requested state."""
        return self.kind.desired

    @property
    def is_slurms_power_off(self) -> bool:
        """Whether Slurm itself asks for the node to be powered off."""
        return self.kind is Kind.RESUME_FAIL or (
            self.kind is Kind.SUSPEND and self.expiry is not None
        )

    def to_envelope(self) -> Envelope:
        """The message's envelope."""
        return Envelope.around(self, self.kind.type, self.node, to_data(self))


def parse_command(body: bytes) -> PowerCommand:
    """Read a command; raises MalformedMessageError, naming the field and the remedy."""
    return command_from(parse(body))


def command_from(envelope: Envelope) -> PowerCommand:
    """The command in an envelope; raises MalformedMessageError, naming the field and the remedy."""
    kind = _KINDS.get(envelope.type)
    if kind is None:
        raise envelope.unknown_type("a command", f"send one of {', '.join(_KINDS)}")
    node = envelope.node
    if envelope.generation <= 0:
        raise MalformedMessageError("generation", "must be above 0", "stamp it in the hook")
    data = Fields(envelope.data, "data.")
    command = read(
        PowerCommand,
        data,
        kind=kind,
        cluster=envelope.source,
        node=node,
        generation=envelope.generation,
        correlation_id=envelope.correlation_id,
        expiry=envelope.expiry,
        image=data.attribute("image") if kind is Kind.BAKE else None,
    )
    envelope.check_id(
        matches=command.id == envelope.id, fields="generation, correlationid and subject"
    )
    return command
