"""A request for a node: raise its desired state to this generation, then reconcile the node."""

import enum
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

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
    wire,
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
_NS_PER_MS = 1_000_000
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
        generation: the fencing number: ns since the epoch, or above where that clock was set back.
        correlation_id: the hook call.
        expiry: when Slurm stops waiting (ns since the epoch), or None.
        jobs: the waiting jobs; empty for a suspend.
        origin: the host of the hook.
        note: what went wrong while the request was made, or the operator's reason, or None.
        image: the name of the image to make; only for a bake.
        repair: whether it repairs a difference: slurmctld did not call, and waits for no boot by it.
        called: ns since the epoch, by the clock of its host; 0 if only the generation says it.
        id: the request's id, the same each time it is sent.
        desired: the requested state.
        is_slurms_power_off: whether Slurm itself asks for the node to be powered off.
        is_slurms_boot: whether Slurm itself asks for the node to be booted, and waits for that.
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
    repair: bool = field(default=False, metadata=wire(Fields.flag, required=False))
    called: int = field(default=0, compare=False)

    id: str = field(init=False, compare=False, repr=False)
    desired: Desired = field(init=False, compare=False, repr=False)
    is_slurms_power_off: bool = field(init=False, compare=False, repr=False)
    is_slurms_boot: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        called = self.expiry is not None
        suspends = self.kind is Kind.SUSPEND and called
        derived = {
            "id": _request_id(self.generation, self.correlation_id, self.node),
            "desired": _DESIRED[self.kind],
            "is_slurms_power_off": suspends or self.kind is Kind.RESUME_FAIL,
            "is_slurms_boot": self.kind is Kind.RESUME and called and not self.repair,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def time(self) -> int:
        """When it was made (ns since the epoch), by the clock of its host."""
        return self.called or self.generation

    def to_envelope(self) -> Envelope:
        """The message's envelope."""
        return Envelope.around(self, self.kind.type, self.node, to_data(self))


def _request_id(generation: int, correlation: str, node: str) -> str:
    """The UUIDv7 (RFC 9562, section 5.7) of one node's request within one hook call.

    Its time is the generation's; its random part is derived, so a request that is sent again has the
    same id.
    """
    digest = hashlib.sha256(f"{correlation}\0{node}".encode()).digest()
    number = (generation // _NS_PER_MS & 0xFFFF_FFFF_FFFF) << 80
    number |= int.from_bytes(digest[:10], "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))


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
        called=envelope.time,
        image=data.attribute("image") if kind is Kind.BAKE else None,
    )
    envelope.check_id(
        matches=command.id == envelope.id, fields="generation, correlationid and subject"
    )
    return command
