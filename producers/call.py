"""A hook call, and the commands that follow from it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from producers.hosts import MOST_NODES, expand, size
from schemas.commands import Kind, PowerCommand, WaitingJob, parse_command
from schemas.errors import MalformedMessageError
from schemas.fields import loads, shown
from schemas.numbers import MOST

_NS = 1_000_000_000
# More than a call waits for the clock's lock.
_SAME_TIME = 2 * _NS
# A hook has seconds, and a message must stay below what its reader takes (MOST_BYTES): of each text, a
# character is at most 12 bytes of JSON.
_MOST_JOBS, _MOST_OF_NODE, _LONGEST = 65_536, 1000, 400
# Names of nodes of all jobs of a call together.
_MOST_NAMES = 4 * MOST_NODES


@dataclass(frozen=True, slots=True)
class HookCall:
    """A call from slurmctld or an operator, as it is spooled.

    Attributes:
        nodes: the hostlist expression, as given.
        generation: stamped once, the same each time the call is sent.
        correlation_id: 32 hex digits.
        expiry: ns since the epoch, or None.
        resume_file: SLURM_RESUME_FILE's content, or None.
        note: what went wrong in the hook, or the operator's reason, or None.
        image: the image's name, for a bake, or None.
        called: ns since the epoch, if the clock was set back and the generation does not say it; otherwise 0.
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
    called: int = 0

    def to_json(self) -> bytes:
        """The content of the spool file, as earlier versions read it: they refuse a name that is new."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        if not self.called:
            del fields["called"]
        return json.dumps(fields).encode()

    def parts(self) -> dict[str, str]:
        """The node of each of its messages, by the message's ID."""
        return {command.id: command.node for command in commands(self)}

    def only(self, parts: Sequence[str]) -> "HookCall":
        """The call for these nodes only."""
        return replace(self, nodes=",".join(parts))


def call_from(body: bytes) -> HookCall:
    """Read a spooled call; the workers accept its commands.

    Raises:
        MalformedMessageError: the file was not written by a hook.
    """
    try:
        raw = loads(body)
        call = HookCall(**{**raw, "kind": Kind(raw["kind"])})
        # What the workers would reject is better found here.
        parse_command(commands(call)[0].to_envelope().to_json())
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError) as error:
        raise MalformedMessageError(
            "spool file", f"not written by a hook: {error}", "move it away"
        ) from None
    return call


def commands(call: HookCall) -> list[PowerCommand]:
    """The call's commands, one per node, each with the jobs that wait for the node.

    If the resume file cannot be read, the commands lack the jobs and have a note.

    Raises:
        MalformedMessageError: the hostlist cannot be read.
    """
    nodes = expand(call.nodes)
    note = call.note
    waiting: dict[str, list[WaitingJob]] = {}
    if call.resume_file is not None:
        waiting, problem = _jobs_by_node(call.resume_file, nodes)
        note = "; ".join(text for text in (note, problem) if text) or None
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
            called=call.called,
        )
        for node in nodes
    ]


def own_time(called: int, generation: int) -> int:
    """The time of a call (ns since the epoch) if its generation is another one; otherwise 0."""
    return called if generation - called > _SAME_TIME else 0


def expiry(called: int, timeout: float) -> int:
    """When Slurm stops waiting for a call made at `called` (ns since the epoch); `timeout` in seconds."""
    return called + int(timeout * _NS)


def _jobs_by_node(
    resume_file: str, nodes: Iterable[str]
) -> tuple[dict[str, list[WaitingJob]], str | None]:
    """The waiting jobs by node, and the first problem; a job that cannot be read is skipped.

    Slurm 22.05 calls a job's nodes `nodes`, later versions `nodes_resume` (ResumeProgram in
    slurm.conf(5)).
    """
    waiting: dict[str, list[WaitingJob]] = {node: [] for node in nodes}
    problem = None
    try:
        jobs = list(loads(resume_file)["jobs"])
    except (ValueError, TypeError, KeyError) as error:
        return waiting, _unreadable(error, resume_file)
    if len(jobs) > _MOST_JOBS:
        problem = f"SLURM_RESUME_FILE: names {len(jobs)} jobs; the first {_MOST_JOBS} are read"
    left = _MOST_NAMES
    for raw in jobs[:_MOST_JOBS]:
        try:
            job, expression = _job(raw)
            left -= size(expression)
            if left < 0:
                more = f"from job {job.job_id} on, nodes are too many to be read"
                return waiting, problem or f"SLURM_RESUME_FILE: {more}"
            names = expand(expression)
        except (ValueError, TypeError, KeyError) as error:
            problem = problem or _unreadable(error, raw)
            continue
        for name in names:
            if name not in waiting:
                continue
            if len(waiting[name]) < _MOST_OF_NODE:
                waiting[name].append(job)
            else:
                problem = (
                    problem or f"SLURM_RESUME_FILE: names more than {_MOST_OF_NODE} jobs of {name}"
                )
    return waiting, problem


def _job(raw: dict[str, Any]) -> tuple[WaitingJob, str]:
    """A job, and the nodes that it waits for as a hostlist."""
    job_id = raw["job_id"]
    if not isinstance(job_id, int) or isinstance(job_id, bool) or not 1 <= job_id <= MOST:
        raise ValueError(f"job_id {shown(job_id)}")
    texts = {name: _text(raw.get(name)) for name in ("features", "partition", "reservation")}
    nodes = raw.get("nodes_resume") or raw["nodes"]
    if not isinstance(nodes, str):
        raise TypeError(f"nodes {shown(nodes)}")
    return WaitingJob(job_id=job_id, **texts), nodes


def _text(value: object) -> str | None:
    """A text of a job, cut, None if absent or empty; half a surrogate pair becomes `?`."""
    if not isinstance(value, str):
        return None
    return value[:_LONGEST].encode(errors="replace").decode() or None


def _unreadable(error: Exception, content: object) -> str:
    what = f"{type(error).__name__}: {error}"
    return f"SLURM_RESUME_FILE: {shown(what)} in {shown(content)} (see slurm.conf(5))"
