"""Five minutes of storm with a fixed seed over real Slurm and RabbitMQ and a simulated cloud."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.testbed.cluster import ROOT
from tests.testbed.processes import MINIMAL_ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

SEED, MINUTES, NODES = 7, 5, 16


@pytest.mark.timeout(1200)
def test_no_promise_is_broken_in_a_storm(run_dir: Path) -> None:
    """P1 to P4, P9 and P12 at once, in the command's own words, which say what was checked."""
    words = ("--minutes", str(MINUTES), "--seed", str(SEED), "--nodes", str(NODES))
    done = subprocess.run(
        [sys.executable, "-m", "storm", *words, "--folder", str(run_dir / "storm")],
        env=dict(MINIMAL_ENVIRONMENT),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)  # noqa: T201 - pytest shows it with -rP, and after a failure
    assert done.returncode == 0
    assert "VIOLATION" not in done.stdout
    checked = {
        name: int(n) for n, name in re.findall(r"^checked: (\d+) (.*)$", done.stdout, re.MULTILINE)
    }
    assert checked["nodes of hook calls with a record"] > NODES
    assert checked["runs of tasks of jobs"] > NODES
    [faults] = re.findall(r"(\d+) faults,", done.stdout.splitlines()[-1])
    assert int(faults) >= 10 * MINUTES
