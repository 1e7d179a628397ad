"""A simulated OPUS: the checks, replies and job changes of its POST /handler/job_event.

The contract, from ParisAstronomicalDataCentre/OPUS at 4487bcb:

- uws_server/uws_server.py 121-126, `get_real_ip`: the address is X-Real-IP, else X-Forwarded-For, else
  that of the connection; 129-141, `is_job_server`: it must contain a key of JOB_SERVERS, else 403. There
  is no other check.
- uws_server.py 1241-1306, `job_event`: `jobid` is Slurm's; `error_msg` counts only with `phase=ERROR`;
  the present phase is refused; Slurm's states are converted by PHASE_CONVERT (settings.py 223-238). A
  UserWarning is answered by 500 with its text, NotFoundWarning by 404 (storage.py 406-408: the first job
  with that process_id).
- uws_classes.py 845-913, `Job.change_status`: the permitted changes; a job that ends without its jobdata
  goes to ERROR, and the answer is a 500 without words.
- bottle.py, `BaseRequest.POST`: a urlencoded form is read as Latin-1, a multipart one as UTF-8.

tests/unit/test_testbed_opus.py holds what the real one has answered.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tests.testbed.receiver import Got, Receiver, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/handler/job_event"
PHASES = {
    *("PENDING", "QUEUED", "EXECUTING", "COMPLETED", "ERROR"),
    *("ABORTED", "UNKNOWN", "HELD", "SUSPENDED", "ARCHIVED"),
}
_CANCELLED = (
    "Job was explicitly cancelled by the user or system administrator. "
    "The job may or may not have been initiated"
)
PHASE_CONVERT = {
    "RUNNING": ("EXECUTING", ""),
    "PENDING": ("QUEUED", ""),
    "CONFIGURING": ("QUEUED", ""),
    "FAILED": ("ERROR", "Job terminated with non-zero exit code or other failure condition"),
    "NODE_FAIL": ("ERROR", "Job terminated due to failure of one or more allocated nodes"),
    "TIMEOUT": ("ERROR", "Job terminated upon reaching its time limit"),
    "PREEMPTED": ("ERROR", "Job terminated due to preemption"),
    "CANCELLED": ("ABORTED", _CANCELLED),
    "SUSPENDED": ("SUSPENDED", ""),
}
_ENDED = {"COMPLETED", "ABORTED", "ARCHIVED"}
_NEW = PHASES - {"PENDING", "UNKNOWN"}
_TITLES = {403: "Forbidden", 404: "Not Found", 500: "Internal Server Error"}


@dataclass
class UwsJob:
    """A job in the database of OPUS.

    Attributes:
        process_id: Slurm's job id.
        jobdata: whether scp finds its jobdata; if not, the first end is refused.
    """

    jobid: str
    process_id: str
    phase: str = "QUEUED"
    error: str = ""
    jobdata: bool = True


class UserWarningError(Exception):
    """Python's UserWarning in OPUS: a 500 with its text."""


class Opus(Receiver):
    """A context manager; the server listens inside the block.

    Args:
        job_servers: as in its settings: addresses or parts of addresses.
        port: the port; by default a free one.
    """

    def __init__(self, job_servers: Mapping[str, str] | None = None, port: int = 0) -> None:
        super().__init__(self._answer, port)
        self.job_servers = {"127.0.0.1": "localhost"} if job_servers is None else job_servers
        self.jobs: list[UwsJob] = []

    def add(self, jobid: str, process_id: int, phase: str = "QUEUED") -> UwsJob:
        """Add a job that OPUS has submitted."""
        job = UwsJob(jobid, str(process_id), phase)
        self.jobs.append(job)
        return job

    def _answer(self, got: Got) -> Reply:
        if got.path.rstrip("/") != PATH:
            return _page(404, f"Not found: '{got.path}'")
        ip = got.headers.get("x-real-ip", got.headers.get("x-forwarded-for", "127.0.0.1"))
        if not any(server in ip for server in self.job_servers):
            return _page(403, f"{ip} is not a job server")
        try:
            return self._job_event(form_of(got))
        except UserWarningError as warning:
            return _page(500, str(warning))

    def _job_event(self, form: Mapping[str, str]) -> Reply:
        if "jobid" not in form:
            raise UserWarningError("jobid is not defined in POST")
        job = next((job for job in self.jobs if job.process_id == form["jobid"]), None)
        if job is None:
            return _page(404, f"Job with process_id={form['jobid']} NOT FOUND")
        phase = form.get("phase")
        if phase is None:
            raise UserWarningError(f"Unknown event sent for job {job.jobid}")
        message = ""
        if phase == "ERROR":
            message = form.get("error_msg", "")
        elif phase == job.phase:
            raise UserWarningError(f"Phase is already {phase}")
        elif phase not in PHASES:
            if phase not in PHASE_CONVERT:
                raise UserWarningError(f"Unknown new phase {phase} for job {job.jobid}")
            phase, message = PHASE_CONVERT[phase]
        return _change_status(job, phase, message)


def form_of(got: Got) -> Mapping[str, str]:
    """The fields of a form, read as Bottle 0.13 does."""
    content_type = got.headers.get("content-type", "")
    if not content_type.startswith("multipart/"):
        found = parse_qs(got.body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        return {name: values[-1] for name, values in found.items()}
    head = f"content-type: {content_type}\r\n\r\n".encode()
    parts = BytesParser(policy=HTTP).parsebytes(head + got.body).iter_parts()
    read = {}
    for part in parts:
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        read[str(part.get_param("name", header="content-disposition"))] = content.decode()
    return read


def _change_status(job: UwsJob, phase: str, message: str) -> Reply:
    if job.phase in _ENDED:
        if phase != "ARCHIVED":
            raise UserWarningError(
                f"Job {job.jobid} cannot be updated to {phase} while in terminal phase {job.phase}"
            )
        if job.phase == "ARCHIVED":
            raise UserWarningError(
                f"Job {job.jobid} cannot be updated to {phase} while in phase {job.phase}"
            )
    elif phase not in _NEW:
        raise UserWarningError(f"Phase change not allowed: {job.phase} --> {phase}")
    if phase in {"COMPLETED", "ABORTED", "ERROR"} and job.phase != "ERROR" and not job.jobdata:
        why = f"Cannot get jobdata for job {job.jobid}"
        job.phase, job.error = "ERROR", f"{job.error}. {why}" if job.error else why
        return _page(500, "Internal Server Error")
    if phase in {"ERROR", "ABORTED", "ARCHIVED"}:
        job.error = f"{job.error}. {message}" if job.error else message
    if job.phase != "ABORTED":
        job.phase = phase
    return Reply(200, headers={"content-type": "text/plain; charset=UTF-8"})


def _page(status: int, words: str) -> Reply:
    title = f"Error: {status} {_TITLES[status]}"
    style = "html {background-color: #eee; font-family: sans-serif;}" * 8
    page = (
        '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html>\n<head>\n'
        f'<title>{title}</title>\n<style type="text/css">\n{style}\n</style>\n</head>\n<body>\n'
        f"<h1>{title}</h1>\n<p>Sorry, the requested URL <tt>'/'</tt>\n caused an error:</p>\n"
        f"<pre>{html.escape(words)}</pre>\n</body>\n</html>\n"
    )
    return Reply(status, page, {"content-type": "text/html; charset=UTF-8"})
