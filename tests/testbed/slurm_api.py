"""Ends of jobs that slurmd reports or an operator's program asks for, through Slurm's own library.

A real machine reports them when memory runs out, or when a node cannot boot as the job wants it; neither
can be had on demand.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.testbed.slurm import PrivateSlurm

# What slurmstepd reports of a batch script that the kernel has killed for its memory (SIG_OOM).
_OUT_OF_MEMORY = 253
# The flag of a requeue after which a job that may not be requeued ends in BOOT_FAIL (slurm.h).
_RECONFIG_FAIL = 0x20000
_CALL = """import ctypes, glob, sys
slurm = ctypes.CDLL(glob.glob("/usr/lib/*/slurm-wlm/libslurmfull.so")[0], ctypes.RTLD_GLOBAL)
slurm.slurm_init(None)
getattr(slurm, sys.argv[1])(*(ctypes.c_uint32(int(word)) for word in sys.argv[2:]))
"""


def run_out_of_memory(slurm: PrivateSlurm, job_id: int) -> None:
    """End a running job as if it had used more memory than it may."""
    slurm.run(sys.executable, "-c", _CALL, "slurm_complete_job", str(job_id), str(_OUT_OF_MEMORY))


def fail_boot(slurm: PrivateSlurm, job_id: int) -> None:
    """End a running job, which may not be requeued, as if its nodes could not boot."""
    slurm.run(sys.executable, "-c", _CALL, "slurm_requeue", str(job_id), str(_RECONFIG_FAIL))
