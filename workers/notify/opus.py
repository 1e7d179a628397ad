"""The message to OPUS about a job, in its own format. Pure.

OPUS's POST /handler/job_event, at commit 4487bcb (uws_server/uws_server.py lines 1241-1306, `job_event`;
uws_server/uws_classes.py lines 845-913, `Job.change_status`):

- It finds the job by `jobid` (Slurm's) alone, and reads `error_msg` only with `phase=ERROR`.
- It converts Slurm's states by PHASE_CONVERT (settings.py lines 223-238), which knows neither BOOT_FAIL,
  OUT_OF_MEMORY nor DEADLINE, and whose texts are fixed.
- A job in COMPLETED, ABORTED or ARCHIVED no longer changes; a job in ERROR does, even to COMPLETED.
- No request changes a job to UNKNOWN; the refusal names the present phase.
"""

import re
from collections.abc import Mapping

from urllib3 import encode_multipart_formdata

from schemas.envelope import Envelope
from schemas.errors import MalformedMessageError
from schemas.jobs import JobEvent, JobTransition, job_event_from
from workers.notify.verdict import Response
from workers.notify.webhook_request import WebhookRequest, printable

_TOLD = frozenset({JobTransition.FAILED, JobTransition.FINISHED, JobTransition.WAITING})
_FINAL = frozenset({"COMPLETED", "ABORTED", "ARCHIVED"})
_PHASE = re.compile(r"(?:Phase change not allowed:|in terminal phase|Phase is already) +([A-Z]+)")
_OK = 200
_SOME_NODES = 5
# What ended a job, by Slurm's state (squeue(1), JOB STATE CODES).
_ENDED_BY: Mapping[str, str] = {
    "FAILED": "the job ended with an error; its own message did not arrive",
    "NODE_FAIL": "a node of this job failed",
    "BOOT_FAIL": "a node of this job did not boot",
    "TIMEOUT": "the job reached its time limit",
    "OUT_OF_MEMORY": "the job used more memory than it had requested",
    "PREEMPTED": "another job took its nodes",
    "DEADLINE": "the job could not end before its deadline",
    "REVOKED": "another cluster of the federation took this job; how it ended is unknown",
    "GONE": "Slurm no longer knows this job; how it ended is unknown",
}
# Of a job in ERROR, OPUS knows the cause better: its batch script, or a failed boot, has told it.
_KNOWN_BETTER = frozenset({"FAILED", "NODE_FAIL", "BOOT_FAIL", "REVOKED", "GONE"})


def opus_job(envelope: Envelope) -> JobEvent | None:
    """The event, if OPUS can be told: only jobs that its own batch scripts submitted.

    OPUS finds a job by Slurm's job id alone, and jobs of another cluster, or from before Slurm lost its
    state, may have the same id.
    """
    if envelope.type not in {transition.type for transition in _TOLD}:
        return None
    try:
        job = job_event_from(envelope)
    except MalformedMessageError:
        return None
    return job if job.uws_id is not None else None


def question(job: JobEvent) -> WebhookRequest | None:
    """The request whose refusal names the job's present phase; None if the phase does not matter."""
    if job.transition is JobTransition.FAILED:
        return None  # OPUS itself refuses it if the job has ended
    return _request(job, "UNKNOWN")


def current_phase(response: Response) -> str | None:
    """The phase that the refusal of a question names; None if OPUS has answered something else."""
    if response.status == _OK:  # another version of OPUS
        return "UNKNOWN"
    found = _PHASE.search(response.text)
    return found[1] if found else None


def news(job: JobEvent, phase: str | None) -> WebhookRequest | None:
    """The request that changes the job, which is in this phase; None if nothing is to be changed."""
    if job.transition is JobTransition.FAILED:
        return _request(job, "ERROR", _failure(job))
    if phase in _FINAL:
        return None
    if job.transition is JobTransition.WAITING:
        # UWS 1.1: SUSPENDED is a temporary lack of resources; the job's start ends it
        return _request(job, "SUSPENDED") if phase == "QUEUED" else None
    state = job.state or "GONE"
    if state == "CANCELLED":
        return _request(job, state)
    if phase == "ERROR" and (state == "COMPLETED" or state in _KNOWN_BETTER):
        return None
    if state == "COMPLETED":
        return _request(job, state)
    where = f" ({_some(job.nodes)})" if job.nodes else ""
    return _request(job, "ERROR", f"{state}: {_ENDED_BY.get(state, 'the job has ended')}{where}")


def _failure(job: JobEvent) -> str:
    cause = job.cause or "the cause is unknown"
    where = _some(job.nodes) or "a node"
    return f"{job.state}: {where} could not be started for this job ({cause})"


def _some(nodes: tuple[str, ...]) -> str:
    return ", ".join(nodes[:_SOME_NODES]) + (", ..." if len(nodes) > _SOME_NODES else "")


def _request(job: JobEvent, phase: str, message: str = "") -> WebhookRequest:
    """A form as multipart/form-data: OPUS's web framework, Bottle, reads it as UTF-8.

    A urlencoded one it reads as Latin-1 (bottle.py, `BaseRequest.POST`), which garbles other letters.
    """
    form = {"jobid": str(job.job_id), "phase": phase}
    if message:
        form["error_msg"] = printable(message)
    body, content_type = encode_multipart_formdata(form)
    return WebhookRequest({"content-type": content_type}, body)
