"""The states of all Slurm nodes at one moment, and what a state means for the node's power.

States and flags: scontrol(1) and slurm.conf(5), "NODE STATE CODES", from 21.08 on.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from schemas import ids
from schemas.envelope import Envelope, parse
from schemas.errors import MalformedMessageError
from schemas.fields import (
    TEXT,
    Fields,
    fit,
    is_node_name,
    many,
    nested,
    number,
    read,
    to_data,
    wire,
)
from schemas.numbers import MOST

ROUTING_KEY = "slurm.snapshot.taken"
TYPE = f"lamplighter.{ROUTING_KEY}.v1"
_MOST_PARTS = 10_000
# Seconds; Slurm keeps its timeouts in 16 bits, and SuspendTime in 32.
LONGEST_TIME = 2**32
# Slurm's own reasons for setting a node down; an operator or the slurm worker gives any other.
_SLURM_REASONS = ("", "Not responding")
# Slurm's reason for a node that did not register in time; 24.11 appends it to an existing reason.
RESUME_TIMEOUT = "ResumeTimeout reached"
# Every reason that Lamplighter sets starts with this; other reasons belong to others.
OWN_REASON = "lamplighter: "
_BASES = frozenset({"IDLE", "ALLOCATED", "MIXED", "DOWN"})
_OPTIONAL_SECONDS = number(required=False, most=LONGEST_TIME)


class Power(enum.StrEnum):
    """What a node's Slurm state says about its power.

    ON: powered on: the node is in use, or can be at any moment.
    POWERING_UP: powering up: Slurm waits for the node to register.
    POWERING_DOWN: powering down: Slurm has called SuspendProgram, and the node has no job.
    OFF: powered off: Slurm considers the node powered down, and it has no job.
    CHANGING: about to change; the next hook call decides.
    SET_DOWN: an operator has set the node down: nothing runs there, and there is nothing to do.
    UNKNOWN: Slurm does not know the node, or its state is not one we know.
    """

    ON = "on"
    POWERING_UP = "powering_up"
    POWERING_DOWN = "powering_down"
    OFF = "off"
    CHANGING = "changing"
    SET_DOWN = "set_down"
    UNKNOWN = "unknown"


def _node_name(data: Fields, name: str) -> str:
    node = data.text(name)
    if not is_node_name(node):
        raise data.wrong(name, "is not a node name")
    return node


def _job_ids(data: Fields, name: str) -> tuple[int, ...]:
    ids_ = data.raw[name]
    if not isinstance(ids_, list) or not all(type(id_) is int and 1 <= id_ <= MOST for id_ in ids_):
        raise data.wrong(name, "must be a list of job ids")
    return tuple(ids_)


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """One node's state in Slurm.

    Attributes:
        state: base and flags joined by `+`, as scontrol prints them: `IDLE+CLOUD+POWERED_DOWN`.
        reason: why it is out of service; untrusted text, or empty.
    """

    node: str = field(metadata=wire(_node_name))
    state: str = field(metadata=TEXT)
    reason: str = field(
        default="",
        metadata=wire(lambda data, name: data.text_or_none(name) or "", fit, required=False),
    )
    jobs: tuple[int, ...] = field(default=(), metadata=wire(_job_ids, list, required=False))

    @property
    def states(self) -> tuple[str, ...]:
        """The base state, then the flags."""
        return tuple(self.state.split("+"))

    @property
    def power(self) -> Power:
        """What the state says about the node's power."""
        base, *rest = self.states
        flags = frozenset(rest)
        if base not in _BASES:
            return Power.UNKNOWN
        if "POWERING_DOWN" in flags:
            return Power.CHANGING if self.jobs else Power.POWERING_DOWN
        if flags & {"POWER_DOWN", "POWER_UP"}:
            return Power.CHANGING
        if "POWERING_UP" in flags:
            return Power.CHANGING if base == "DOWN" else Power.POWERING_UP
        if "POWERED_DOWN" in flags:
            # if it has a job, Slurm is about to call ResumeProgram
            return Power.CHANGING if self.jobs or base in {"ALLOCATED", "MIXED"} else Power.OFF
        if base == "DOWN":
            return Power.ON if self.reason in _SLURM_REASONS else Power.SET_DOWN
        return Power.ON

    @property
    def answers(self) -> bool:
        """Whether the node's slurmd answers slurmctld: a job may run there."""
        base, *flags = self.states
        return self.power is Power.ON and base != "DOWN" and "NOT_RESPONDING" not in flags

    @property
    def failed_boot(self) -> bool:
        """Whether the node is out of service because a boot failed, by Lamplighter or by Slurm."""
        base, *flags = self.states
        failed = self.reason.startswith(OWN_REASON) or RESUME_TIMEOUT in self.reason
        return base == "DOWN" and "POWERED_DOWN" in flags and failed


@dataclass(frozen=True, slots=True)
class PartitionTimes:
    """Times of power saving that a partition sets for its nodes, seconds; None if it does not."""

    partition: str = field(metadata=TEXT)
    nodes: tuple[str, ...] = field(metadata=wire(Fields.node_names, list))
    resume_timeout: int | None = field(default=None, metadata=_OPTIONAL_SECONDS)
    suspend_timeout: int | None = field(default=None, metadata=_OPTIONAL_SECONDS)
    suspend_time: int | None = field(default=None, metadata=_OPTIONAL_SECONDS)


@dataclass(frozen=True, slots=True)
class PowerSaving:
    """Slurm's settings of power saving: slurm.conf(5); times are seconds.

    Attributes:
        suspend_time: SuspendTime; None if it is not set.
        excluded: nodes that Slurm never powers down (SuspendExcNodes, SuspendExcParts).
        partitions: the partitions that set times of their own.
    """

    resume_timeout: int = field(metadata=number(most=LONGEST_TIME))
    suspend_timeout: int = field(metadata=number(most=LONGEST_TIME))
    suspend_time: int | None = field(default=None, metadata=_OPTIONAL_SECONDS)
    excluded: tuple[str, ...] = field(
        default=(), metadata=wire(Fields.node_names, list, required=False)
    )
    partitions: tuple[PartitionTimes, ...] = field(
        default=(), metadata=many(PartitionTimes, required=False)
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All nodes at one moment, or a part of them: a large cluster needs several messages.

    Attributes:
        generation: stamped before Slurm was read, so every later hook call is newer.
        taken: ns since the epoch, by the clock of its host; 0 if only the generation says it.
        correlation_id: 32 hex digits, the same in all parts.
        part, parts: the part's number, from 1, and how many parts there are.
        power_saving: Slurm's settings, the same in all parts; None if they are not known.
    """

    cluster: str
    generation: int
    correlation_id: str
    origin: str = field(metadata=TEXT)
    nodes: tuple[SlurmNode, ...] = field(metadata=many(SlurmNode))
    part: int = field(default=1, metadata=number())
    parts: int = field(default=1, metadata=number())
    power_saving: PowerSaving | None = field(
        default=None, metadata=nested(PowerSaving, required=False)
    )
    taken: int = field(default=0, compare=False)

    @property
    def time(self) -> int:
        """When it was taken (ns since the epoch), by the clock of its host."""
        return self.taken or self.generation

    @property
    def id(self) -> str:
        """Derived: a part that is sent again has the same id."""
        return ids.derived_id("snapshot", self.cluster, self.correlation_id, str(self.part))

    def to_envelope(self) -> Envelope:
        """The message's envelope."""
        return Envelope.around(self, TYPE, self.cluster, to_data(self))


def parse_snapshot(body: bytes) -> Snapshot:
    """Read one part of a snapshot; raises MalformedMessageError, naming the field and the remedy."""
    return snapshot_from(parse(body))


def snapshot_from(envelope: Envelope) -> Snapshot:
    """The part of a snapshot in an envelope; raises MalformedMessageError, also for other types."""
    if envelope.type != TYPE:
        raise envelope.unknown_type("a snapshot", f"send {TYPE}")
    if envelope.generation <= 0:
        raise MalformedMessageError(
            "generation", "must be above 0", "stamp it before reading Slurm"
        )
    data = Fields(envelope.data, "data.")
    parts = data.number("parts", least=1, most=_MOST_PARTS)
    return read(
        Snapshot,
        data,
        cluster=envelope.source,
        generation=envelope.generation,
        correlation_id=envelope.correlation_id,
        taken=envelope.time,
        part=data.number("part", least=1, most=parts),
        parts=parts,
    )


def join_parts(parts: Sequence[Snapshot]) -> Snapshot | None:
    """The whole snapshot, or None while a part is missing; all parts belong to one snapshot."""
    by_number = {part.part: part for part in parts}
    first = by_number.get(1)
    if first is None or len(by_number) != first.parts:
        return None
    nodes = [node for number in sorted(by_number) for node in by_number[number].nodes]
    return replace(first, nodes=tuple(nodes), part=1, parts=1)
