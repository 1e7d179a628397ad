"""Runs a script on a copy of this system with Slurm, RabbitMQ and a simulated cloud."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# An error shows what the processes wrote.
LOGS = """
logs() { for all in "" /worker; do
  tail -n 30 $all/var/log/lamplighter*/* $all/var/log/lamplighter-*.log /var/log/slurm/* /var/log/cloud/*
done; }
trap logs ERR
"""
FIRST_JOB = """
set +x
echo "== the first job"
for _ in $(seq 300); do
  [ -s slurm-1.out ] && break
  sleep 0.2
done
[ -s slurm-1.out ] && cat slurm-1.out
for _ in $(seq 200); do lamplighter audit list | grep -q job.ended && break; sleep 0.5; done
lamplighter audit why 1
"""


def download_wheels(folder: Path) -> Path:
    """Build our wheel, and fetch those of the libraries; returns ours."""
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--wheel-dir", str(folder)]
    wanted = ("hatchling>=1.27,<2", f"{ROOT}[postgresql]")
    subprocess.run([*pip, *wanted], check=True, capture_output=True, timeout=300)
    (ours,) = folder.glob("lamplighter-*.whl")
    return ours


def run_on_copy(folder: Path, wheels: Path, script: str) -> str:
    """Run a bash script as root in this repository's copy in /root/lamplighter; returns its output.

    Raises:
        AssertionError: a command failed; the message holds the end of the output.
    """
    (folder / "commands").write_text(f"set -x\n{LOGS}{script}")
    (folder / "root").mkdir()
    done = subprocess.run(
        [
            *("unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child"),
            str(ROOT / "tests/install/system.sh"),
            *map(str, (folder / "root", folder / "commands", wheels, ROOT, sys.executable)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    (folder / "output").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout
