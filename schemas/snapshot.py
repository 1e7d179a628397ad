"""How Slurm sees its nodes at one moment, and what a node's state means for its power.

The flags' names are slurm.conf(5)'s and scontrol(1)'s, "NODE STATE CODES", from 21.08 on.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas import ids
from schemas.envelope import Envelope, Fields, fit, parse
from schemas.errors import MalformedMessageError
from schemas.names import is_node_name, shown

ROUTING_KEY = "slurm.snapshot.taken"
TYPE = f"lamplighter.{ROUTING_KEY}.v1"
_MOST_PARTS = 10_000
# Why Slurm itself sets a node down; any other reason is a person's, or the slurm worker's.
_SLURMS_OWN = ("", "Not responding")
_BASES = frozenset({"IDLE", "ALLOCATED", "MIXED", "DOWN"})


class Power(enum.StrEnum):
    """What a node's state says about its power.

    LIT: it is in use, or may be at any moment.
    COMING: Slurm waits for it to register.
    GOING: Slurm has called SuspendProgram for it, and no job has it.
    OUT: Slurm holds it to be powered down, and no job has it.
    BETWEEN: about to be something else; the next call of a hook says what.
    ASIDE: a person has set it down: nothing runs there, and nothing is to be done.
    UNKNOWN: Slurm does not know it, or says what we do not understand.
    """

    LIT = "lit"
    COMING = "coming"
    GOING = "going"
    OUT = "out"
    BETWEEN = "between"
    ASIDE = "aside"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """One node as Slurm sees it.

    Attributes:
        state: base and flags joined by `+`, as scontrol prints them: `IDLE+CLOUD+POWERED_DOWN`.
        reason: why it is out of service; hostile words, or empty.
        jobs: the ids of the jobs that have it.
    """

    node: str
    state: str
    reason: str = ""
    jobs: tuple[int, ...] = ()

    @property
    def power(self) -> Power:
        """What that says about its power."""
        base, *rest = self.state.split("+")
        flags = frozenset(rest)
        if base not in _BASES:
            return Power.UNKNOWN
        if "POWERING_DOWN" in flags:
            return Power.BETWEEN if self.jobs else Power.GOING
        if flags & {"POWER_DOWN", "POWER_UP"}:
            return Power.BETWEEN
        if "POWERING_UP" in flags:
            return Power.BETWEEN if base == "DOWN" else Power.COMING
        if "POWERED_DOWN" in flags:
            # with a job on it, ResumeProgram is about to be called
            return Power.BETWEEN if self.jobs or base in {"ALLOCATED", "MIXED"} else Power.OUT
        if base == "DOWN":
            return Power.LIT if self.reason in _SLURMS_OWN else Power.ASIDE
        return Power.LIT

    def to_data(self) -> dict[str, Any]:
        """As it travels; what is empty is left out."""
        data: dict[str, Any] = {"node": self.node, "state": self.state}
        if self.reason:
            data["reason"] = fit(self.reason)
        if self.jobs:
            data["jobs"] = list(self.jobs)
        return data


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All nodes at one moment, or a part of them: a large cluster needs several messages.

    Attributes:
        generation: stamped before Slurm was read: whatever a hook asks later is newer.
        correlation_id: 32 hex digits, of the whole.
        origin: the host that read Slurm.
        part, parts: which of how many, from 1.
    """

    cluster: str
    generation: int
    correlation_id: str
    origin: str
    nodes: tuple[SlurmNode, ...]
    part: int = 1
    parts: int = 1

    def to_envelope(self) -> Envelope:
        """As it travels."""
        name = ids.derived_id("snapshot", self.cluster, self.correlation_id, str(self.part))
        return Envelope(
            id=name,
            source=self.cluster,
            type=TYPE,
            subject=self.cluster,
            time=self.generation,
            generation=self.generation,
            correlation_id=self.correlation_id,
            traceparent=ids.traceparent(self.correlation_id, name),
            data={
                "origin": self.origin,
                "part": self.part,
                "parts": self.parts,
                "nodes": [node.to_data() for node in self.nodes],
            },
        )


def parse_snapshot(body: bytes) -> Snapshot:
    """Read one part.

    Raises:
        MalformedMessageError: naming the field and the remedy.
    """
    envelope = parse(body)
    if envelope.type != TYPE:
        raise MalformedMessageError(
            "type", f"{shown(envelope.type)} is no snapshot", f"send {TYPE}"
        )
    if envelope.generation <= 0:
        raise MalformedMessageError(
            "generation", "must be above 0", "stamp it before reading Slurm"
        )
    data = Fields(envelope.data, "data.")
    parts = data.number("parts", least=1, most=_MOST_PARTS)
    return Snapshot(
        cluster=envelope.source,
        generation=envelope.generation,
        correlation_id=envelope.correlation_id,
        origin=data.text("origin"),
        nodes=tuple(_node(fields) for fields in data.objects("nodes")),
        part=data.number("part", least=1, most=parts),
        parts=parts,
    )


def joined(parts: Sequence[Snapshot]) -> Snapshot | None:
    """The whole of these parts, or None while one is missing; they are of one snapshot."""
    by_number = {part.part: part for part in parts}
    first = by_number.get(1)
    if first is None or len(by_number) != first.parts:
        return None
    nodes = [node for number in sorted(by_number) for node in by_number[number].nodes]
    return Snapshot(
        first.cluster, first.generation, first.correlation_id, first.origin, tuple(nodes)
    )


def _node(fields: Fields) -> SlurmNode:
    name = fields.text("node")
    if not is_node_name(name):
        raise fields.wrong("node", "is no node name")
    jobs = fields.raw.get("jobs", [])
    if not isinstance(jobs, list) or not all(_is_job(job) for job in jobs):
        raise fields.wrong("jobs", "must be a list of job ids")
    return SlurmNode(name, fields.text("state"), fields.text_or_none("reason") or "", tuple(jobs))


def _is_job(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63
