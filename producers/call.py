"""One call of a hook, and the commands it asks for."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from producers.hosts import expand
from schemas.commands import Kind, PowerCommand, WaitingJob, parse_command
from schemas.errors import MalformedMessageError
from schemas.names import shown

__all__ = ["HookCall", "call_from", "commands", "expand", "expiry"]

_NS = 1_000_000_000
_MOST_JOB = 2**63 - 1  # what a message may carry; Slurm's own have 32 bits


@dataclass(frozen=True, slots=True)
class HookCall:
    """What slurmctld said, as it is spooled.

    Attributes:
        kind: which hook.
        cluster: whose.
        nodes: the hostlist expression, as given.
        generation: ns since the epoch; stamped once, kept however often the call is sent.
        correlation_id: 32 hex digits.
        expiry: ns since the epoch, or None.
        resume_file: SLURM_RESUME_FILE's content, or None.
        origin: the host.
        note: what went wrong on the way, or an operator's words, or None.
        image: what a bake shall name the image, or None.
    """

    kind: Kind
    cluster: str
    nodes: str
    generation: int
    correlation_id: str
    expiry: int | None
    resume_file: str | None
    origin: str
    note: str | None = None
    image: str | None = None

    def to_json(self) -> bytes:
        """As it is spooled."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()


def call_from(body: bytes) -> HookCall:
    """Read a spooled call; what this returns can be sent.

    Raises:
        MalformedMessageError: it was not written by a hook.
    """
    try:
        raw = json.loads(body)
        call = HookCall(**{**raw, "kind": Kind(raw["kind"])})
        # Put to the proof: what the workers would refuse is better found here.
        parse_command(commands(call)[0].to_envelope().to_json())
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, RecursionError) as error:
        raise MalformedMessageError(
            "spool file", f"not written by a hook: {error}", "move it away"
        ) from None
    return call


def commands(call: HookCall) -> list[PowerCommand]:
    """The call's commands, one a node, each with the jobs that wait for it.

    A resume file that cannot be read costs the jobs' names, never the request.

    Raises:
        MalformedMessageError: the hostlist cannot be read.
    """
    nodes = expand(call.nodes)
    note = call.note
    waiting: dict[str, list[WaitingJob]] = {}
    if call.resume_file is not None:
        waiting, wrong = _jobs_by_node(call.resume_file, nodes)
        note = "; ".join(text for text in (note, wrong) if text) or None
    return [
        PowerCommand(
            kind=call.kind,
            cluster=call.cluster,
            node=node,
            generation=call.generation,
            correlation_id=call.correlation_id,
            expiry=call.expiry,
            jobs=tuple(waiting.get(node, ())),
            origin=call.origin,
            note=note,
            image=call.image,
        )
        for node in nodes
    ]


def expiry(generation: int, timeout: int) -> int:
    """When Slurm gives up waiting for a call made at `generation`; `timeout` in seconds."""
    return generation + timeout * _NS


def _jobs_by_node(
    resume_file: str, nodes: Iterable[str]
) -> tuple[dict[str, list[WaitingJob]], str | None]:
    """Who waits for which node, and what could not be read; one bad job costs that job.

    Slurm 22.05 names a job's nodes `nodes`, later versions `nodes_resume`; resume_program in
    slurm.conf(5).
    """
    waiting: dict[str, list[WaitingJob]] = {node: [] for node in nodes}
    wrong = None
    try:
        jobs = list(json.loads(resume_file)["jobs"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return waiting, _unread(error, resume_file)
    for raw in jobs:
        try:
            job, names = _job(raw)
        except (ValueError, TypeError, KeyError) as error:
            wrong = wrong or _unread(error, raw)
            continue
        for name in names:
            if name in waiting:
                waiting[name].append(job)
    return waiting, wrong


def _job(raw: dict[str, Any]) -> tuple[WaitingJob, list[str]]:
    """A job, and the nodes it waits for."""
    job_id = raw["job_id"]
    if not isinstance(job_id, int) or isinstance(job_id, bool) or not 1 <= job_id <= _MOST_JOB:
        raise ValueError(f"job_id {shown(job_id)}")
    texts = {name: _text(raw.get(name)) for name in ("features", "partition", "reservation")}
    nodes = raw.get("nodes_resume") or raw["nodes"]
    if not isinstance(nodes, str):
        raise TypeError(f"nodes {shown(nodes)}")
    return WaitingJob(job_id=job_id, **texts), expand(nodes)


def _text(value: object) -> str | None:
    """A job's words: absent and empty are the same, and half a character is none."""
    return value.encode(errors="replace").decode() or None if isinstance(value, str) else None


def _unread(error: Exception, held: object) -> str:
    what = f"{type(error).__name__}: {error}"
    return f"SLURM_RESUME_FILE: {shown(what)} in {shown(held)} (see slurm.conf(5))"
