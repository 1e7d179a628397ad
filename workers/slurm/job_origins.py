"""Parses where a job comes from, as squeue shows it, and finds its UWS job by its batch script. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from workers.slurm.nodes import moment

_UWS_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Origin:
    """A job as it was submitted.

    Attributes:
        submitted_at: ns since the epoch, in whole seconds.
        script: the path of its batch script as submitted, with arguments; untrusted.
    """

    job_id: int
    submitted_at: int
    script: str


def origin_format(mark: str) -> str:
    """The --format of squeue that `origins_from` parses; no submitter knows `mark`.

    The path of a script may contain any usual separator, and could imitate the line of another job.
    """
    return f"%A{mark}%V{mark}%o{mark}"


def origins_from(output: str, mark: str) -> Mapping[int, Origin]:
    """The jobs that squeue printed in `origin_format(mark)`; malformed ones are omitted."""
    fields = output.split(mark)
    origins = {}
    for job, submitted, script in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        job_id = job.strip()
        submitted_at = moment(submitted.strip())
        if job_id.isascii() and job_id.isdigit() and submitted_at is not None:
            origins[int(job_id)] = Origin(int(job_id), submitted_at, script)
    return origins


def uws_id(script: str, jobdata: str) -> str | None:
    """The UWS job to which a batch script belongs, or None.

    OPUS submits SLURM_JOBDATA_PATH/ID/sbatch.sh by its absolute path (its uws_server/managers.py,
    SLURMManager.start); any other path belongs to another job.
    """
    path = PurePosixPath(script)
    found = path.parent.name
    expected = PurePosixPath(jobdata) / found / "sbatch.sh"
    return found if path == expected and _UWS_ID.fullmatch(found) else None
