"""docs/quick-start.md, literally: on a copy of this system with Slurm and RabbitMQ, to the first job."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = {"IMAGE": "node-image", "FLAVOR": "m1.tiny", "NETWORK": "none"}
MOST_COMMANDS = 6
CHECKS = """
set +x
logs() { tail -n 30 /var/log/lamplighter*/* /var/log/lamplighter-*.log /var/log/slurm/* /var/log/cloud/*; }
trap logs ERR
echo "== the first job"
for _ in $(seq 300); do
  [ -s /root/lamplighter/slurm-1.out ] && break
  sleep 0.2
done
[ -s /root/lamplighter/slurm-1.out ] && cat /root/lamplighter/slurm-1.out
lamplighter=/opt/lamplighter/bin/lamplighter
for _ in $(seq 200); do $lamplighter audit list | grep -q job.ended && break; sleep 0.5; done
$lamplighter audit why 1
$lamplighter status || true
echo "== again"
$lamplighter init --yes --clouds-yaml clouds.yaml --strategy delete --image IMAGE --flavor FLAVOR --network NETWORK
echo "== modes"
stat -c '%a %U %n' /etc/lamplighter/* /var/lib/lamplighter/*
grep -rl keeper-application-secret /etc /var/lib/lamplighter /var/log /var/spool || true
"""


def commands() -> list[str]:
    """The commands of the page's only block."""
    (block,) = re.findall(
        r"```console\n(.*?)```", (ROOT / "docs/quick-start.md").read_text(), re.DOTALL
    )
    return [line.removeprefix("# ") for line in block.splitlines()]


@pytest.mark.timeout(600)
def test_the_quick_start_leads_to_the_first_job(run_dir: Path) -> None:
    assert os.geteuid() == 0, "run as root: this test needs a copy of the system"
    assert len(commands()) <= MOST_COMMANDS
    script = "set -x\n" + "\n".join(commands()) + CHECKS
    for word, value in WORDS.items():
        script = re.sub(rf"\b{word}\b", value, script)
    (run_dir / "commands").write_text(script)
    (run_dir / "root").mkdir()
    wheels = run_dir / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "download", "--dest", str(wheels)]
    for wanted in (["hatchling>=1.27,<2"], [str(ROOT)]):
        subprocess.run([*pip, *wanted], check=True, capture_output=True, timeout=300)
    done = subprocess.run(
        [
            *("unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child"),
            str(ROOT / "tests/install/system.sh"),
            *(
                str(run_dir / "root"),
                str(run_dir / "commands"),
                str(wheels),
                str(ROOT),
                sys.executable,
            ),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    (run_dir / "output").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    first, again = done.stdout.split("== again")
    # all nodes have this host's name
    assert "\ncontroller\njob 1 waited" in first
    assert "node1 took" in first
    again, modes = again.split("== modes")
    assert "write:" not in again
    assert "differs" not in again
    assert "600 lamplighter-tokens /etc/lamplighter/cloud.secret" in modes
    assert modes.count("/etc/lamplighter/cloud.secret") == 2
