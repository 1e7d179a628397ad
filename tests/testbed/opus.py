"""A simulated OPUS: the checks, replies and job changes of its POST /handler/job_event.

Follows uws_server/uws_server.py (get_real_ip, is_job_server, job_event, abort_...) and uws_classes.py
(Job.change_status) of ParisAstronomicalDataCentre/OPUS at 4487bcb; errors are pages of Bottle's.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
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
PHASE_CONVERT = {
    "RUNNING": ("EXECUTING", ""),
    "PENDING": ("QUEUED", ""),
    "CONFIGURING": ("QUEUED", ""),
    "FAILED": ("ERROR", "Job terminated with non-zero exit code or other failure condition"),
    "NODE_FAIL": ("ERROR", "Job terminated due to failure of one or more allocated nodes"),
    "TIMEOUT": ("ERROR", "Job terminated upon reaching its time limit"),
    "PREEMPTED": ("ERROR", "Job terminated due to preemption"),
    "CANCELLED": ("ABORTED", "Job was explicitly cancelled by the user or system administrator"),
    "SUSPENDED": ("SUSPENDED", ""),
}
_CHANGEABLE = {"PENDING", "QUEUED", "EXECUTING", "HELD", "SUSPENDED", "ERROR", "UNKNOWN"}
_TITLES = {403: "Forbidden", 404: "Not Found", 500: "Internal Server Error"}


@dataclass
class UwsJob:
    """A job in the database of OPUS.

    Attributes:
        process_id: Slurm's job id.
        jobdata: whether scp finds its jobdata; if not, the first error ends in a 500.
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
        if got.path != PATH:
            return _page(404, f"Not found: '{got.path}'")
        ip = got.headers.get("x-real-ip", got.headers.get("x-forwarded-for", "127.0.0.1"))
        if not any(server in ip for server in self.job_servers):
            return _page(403, f"{ip} is not a job server")
        form = {name: values[0] for name, values in parse_qs(got.body.decode("latin-1")).items()}
        try:
            return self._job_event(form)
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


def _change_status(job: UwsJob, phase: str, message: str) -> Reply:
    if job.phase not in _CHANGEABLE:
        raise UserWarningError(
            f"Job {job.jobid} cannot be updated to {phase} while in terminal phase {job.phase}"
        )
    if phase in {"COMPLETED", "ABORTED", "ERROR"} and job.phase != "ERROR" and not job.jobdata:
        job.phase, job.error = "ERROR", f"Cannot get jobdata for job {job.jobid}"
        return _page(500, "Internal Server Error")
    if phase in {"ERROR", "ABORTED", "ARCHIVED"}:
        job.error = f"{job.error}. {message}" if job.error else message
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
