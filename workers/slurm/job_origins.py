"""Where a job comes from, as squeue shows it; and whose it is, as its batch script shows. Pure."""

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
        script: the path of its batch script as it was given, with arguments; hostile.
    """

    job_id: int
    submitted_at: int
    script: str


def origin_format(mark: str) -> str:
    """The --format of squeue that `origins_from` reads; `mark` is known to no submitter.

    A script's path may hold whatever divides fields and lines otherwise, and so pass for another job.
    """
    return f"%A{mark}%V{mark}%o{mark}"


def origins_from(shown: str, mark: str) -> Mapping[int, Origin]:
    """The jobs that squeue has printed in `origin_format(mark)`; odd ones are left out."""
    fields = shown.split(mark)
    origins = {}
    for job, submitted, script in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        job_id = job.strip()
        submitted_at = moment(submitted.strip())
        if job_id.isascii() and job_id.isdigit() and submitted_at is not None:
            origins[int(job_id)] = Origin(int(job_id), submitted_at, script)
    return origins


def uws_id(script: str, jobdata: str) -> str | None:
    """The UWS job that a batch script belongs to, or None.

    OPUS submits SLURM_JOBDATA_PATH/ID/sbatch.sh by its absolute path (its uws_server/managers.py,
    SLURMManager.start); what is not exactly that is somebody else's.
    """
    path = PurePosixPath(script)
    found = path.parent.name
    is_its = path == PurePosixPath(jobdata) / found / "sbatch.sh"
    return found if is_its and _UWS_ID.fullmatch(found) else None
