"""One call of a hook, and the commands it asks for."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import hostlist

from schemas.commands import Kind, PowerCommand, WaitingJob
from schemas.errors import MalformedMessageError
from schemas.names import is_node_name, shown

_NS = 1_000_000_000
_AS_SLURM = "call it as slurmctld does, with a hostlist such as node[1-3,7]"


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
    """Read a spooled call.

    Raises:
        MalformedMessageError: it was not written by a hook.
    """
    try:
        raw = json.loads(body)
        return HookCall(**{**raw, "kind": Kind(raw["kind"])})
    except (ValueError, TypeError, KeyError) as error:
        raise MalformedMessageError(
            "spool file", f"not written by a hook: {error}", "move it away"
        ) from None


def expand(expression: str) -> list[str]:
    """The nodes of a hostlist expression, in its order, each once.

    Raises:
        MalformedMessageError: naming what is wrong with the expression.
    """
    try:
        names: list[str] = hostlist.expand_hostlist(expression)
    except hostlist.BadHostlist as error:
        raise MalformedMessageError(
            "hostlist", f"{error}: {shown(expression)}", _AS_SLURM
        ) from None
    if not names:
        raise MalformedMessageError("hostlist", "names no node", _AS_SLURM)
    for name in names:
        if not is_node_name(name):
            raise MalformedMessageError("hostlist", f"{shown(name)} is no node name", _AS_SLURM)
    return list(dict.fromkeys(names))


def commands(call: HookCall) -> list[PowerCommand]:
    """The call's commands, one a node, each with the jobs that wait for it.

    A resume file that cannot be read costs the jobs' names, never the request.

    Raises:
        MalformedMessageError: the hostlist cannot be read.
    """
    nodes = expand(call.nodes)
    note = call.note
    waiting: dict[str, tuple[WaitingJob, ...]] = {}
    if call.resume_file is not None:
        try:
            waiting = _jobs_by_node(call.resume_file, nodes)
        except MalformedMessageError as error:
            note = f"{note}; {error}" if note else str(error)
    return [
        PowerCommand(
            kind=call.kind,
            cluster=call.cluster,
            node=node,
            generation=call.generation,
            correlation_id=call.correlation_id,
            expiry=call.expiry,
            jobs=waiting.get(node, ()),
            origin=call.origin,
            note=note,
            image=call.image,
        )
        for node in nodes
    ]


def expiry(generation: int, timeout: int) -> int:
    """When Slurm gives up waiting for a call made at `generation`; `timeout` in seconds."""
    return generation + timeout * _NS


def _jobs_by_node(resume_file: str, nodes: Iterable[str]) -> dict[str, tuple[WaitingJob, ...]]:
    """Who waits for which node.

    Slurm 22.05 names a job's nodes `nodes`, later versions `nodes_resume`; resume_program in
    slurm.conf(5).
    """
    waiting: dict[str, list[WaitingJob]] = {node: [] for node in nodes}
    try:
        for raw in json.loads(resume_file)["jobs"]:
            job = _job(raw)
            for node in expand(raw.get("nodes_resume") or raw["nodes"]):
                if node in waiting:
                    waiting[node].append(job)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MalformedMessageError(
            "SLURM_RESUME_FILE",
            f"{type(error).__name__}: {shown(resume_file)}",
            "see slurm.conf(5)",
        ) from None
    return {node: tuple(jobs) for node, jobs in waiting.items()}


def _job(raw: dict[str, Any]) -> WaitingJob:
    job_id = raw["job_id"]
    if not isinstance(job_id, int) or isinstance(job_id, bool) or job_id < 1:
        raise ValueError(f"job_id {shown(job_id)}")
    texts = {name: _text(raw.get(name)) for name in ("features", "partition", "reservation")}
    return WaitingJob(job_id=job_id, **texts)


def _text(value: object) -> str | None:
    """A job's string within what a message may carry; absent and empty are the same."""
    return value[:4096] or None if isinstance(value, str) else None
