"""From the two scripts of a common set-up to Lamplighter, by docs/from-scripts.md, on a copy of this system."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.install.copied import FIRST_JOB, ROOT, download_wheels, run_on_copy

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs/from-scripts.md").read_text()
QUICK_START = (ROOT / "docs/quick-start.md").read_text()
SCRIPTS = """
cat >> /etc/slurm/slurm.conf <<'END'
ResumeProgram=/usr/local/sbin/resume
SuspendProgram=/usr/local/sbin/suspend
ResumeFailProgram=/usr/local/sbin/resume-failed
ResumeTimeout=300
SuspendTimeout=60
END
cloud() {
  (cd REPOSITORY && PYTHON -c "from tests.testbed.simcloud.client import SimControl
cloud = SimControl('http://127.0.0.1:9000')
$1")
}
ids='print(*sorted((one.name, one.id) for one in cloud.all_servers()))'
cloud "cloud.add_servers(['node1', 'node2'])"
cloud "$ids" | tee /run/before
"""
THE_SAME_SERVERS = """
cloud "$ids" | diff /run/before - && echo "the servers are the same"
grep -r /usr/local/sbin/resume /etc/slurm || echo "no script is left"
"""

pytestmark = pytest.mark.timeout(600)


def the_way() -> list[str]:
    """The commands of the page's steps, in order; sentences stand for those of steps 1, 2 and 3."""
    installed = re.findall(r"^# (.*)$", QUICK_START.partition("```console\n")[2], re.MULTILINE)[:2]
    section = PAGE.partition("## The way\n")[2]
    steps = re.split(r"^\d\. ", section, flags=re.MULTILINE)[1:]
    first, removed, init, _checked, tagged, included, job = steps
    assert "first two lines" in first
    parameters = re.findall(r"`(\w+Program)`", removed)
    (dry_run,) = re.findall(r"`([^`]* --dry-run)`", init)
    assert "then without `--dry-run`" in " ".join(init.split())
    return [
        *installed,
        *(f"sed -i '/^{parameter}=/d' /etc/slurm/slurm.conf" for parameter in parameters),
        *(dry_run, dry_run.removesuffix(" --dry-run")),
        *re.findall(r"^ {7}(\S.*)$", tagged, re.MULTILINE),
        *(span for span in re.findall(r"`([^`]+)`", included) if " " in span),
        *(f"{span} || [ $? = 1 ]" for span in re.findall(r"`(lamplighter doctor)`", job)),
        *re.findall(r"`(sbatch [^`]*)`", job),
    ]


def test_the_way_keeps_each_server_and_leads_to_the_first_job(run_dir: Path) -> None:
    """Each command as it stands on the page; the servers of the scripts run the job."""
    assert os.geteuid() == 0, "run as root: this test needs a copy of the system"
    wheels = run_dir / "wheels"
    wheels.mkdir()
    download_wheels(wheels)
    script = "\n".join([SCRIPTS, *the_way()]) + FIRST_JOB + THE_SAME_SERVERS
    script = script.replace("REPOSITORY", str(ROOT)).replace("PYTHON", sys.executable)
    output = run_on_copy(run_dir, wheels, script)
    assert "\ncontroller\njob 1 waited" in output
    assert "the servers are the same" in output
    assert "no script is left" in output
