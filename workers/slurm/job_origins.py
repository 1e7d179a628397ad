"""Finds the UWS job of a Slurm job by its batch script. Pure."""

import re
from pathlib import PurePosixPath

_UWS_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def uws_id(script: str, jobdata: str | None) -> str | None:
    """The UWS job to which a batch script belongs, or None; also if OPUS does not submit jobs.

    OPUS submits SLURM_JOBDATA_PATH/ID/sbatch.sh by its absolute path (its uws_server/managers.py,
    SLURMManager.start); any other path belongs to another job.
    """
    if jobdata is None:
        return None
    path = PurePosixPath(script)
    found = path.parent.name
    expected = PurePosixPath(jobdata) / found / "sbatch.sh"
    return found if path == expected and _UWS_ID.fullmatch(found) else None
