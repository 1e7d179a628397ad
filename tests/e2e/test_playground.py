"""`make playground` runs jobs until Ctrl-C, and leaves nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import requests

from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.waiting import until

ROOT = Path(__file__).parents[2]


def mentioning(folder: str) -> list[str]:
    """The running processes whose command line names the folder."""
    lines = (" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    return [line for line in lines if folder in line]


def test_the_printed_commands_work_and_ctrl_c_leaves_nothing(run_dir: Path) -> None:
    argv = [sys.executable, "-m", "demo.playground"]
    env = {**MINIMAL_ENVIRONMENT, "TMPDIR": str(run_dir)}
    with Child(argv, log=run_dir / "playground.log", env=env, cwd=ROOT) as playground:
        text = until(lambda: said(playground), 120, "the commands")
        (url,) = re.findall(r"http://\S+/", text)
        assert requests.get(url, timeout=10).status_code == 200
        folder = re.findall(r"^    \. (\S+)/environment", text, re.MULTILINE)[0]
        script = f". {folder}/environment; sbatch --wrap hostname && lamplighter status; sinfo"
        done = subprocess.run(
            ["/bin/sh", "-c", script], capture_output=True, text=True, env={}, check=True, cwd="/"
        )
        assert "Submitted batch job 1" in done.stdout
        assert "heartbeat" in done.stdout
        assert "idle~" in done.stdout
        playground.send(signal.SIGINT)
        until(lambda: not playground.running, 60, "its end")
        assert playground.kill() == 0
    assert not Path(folder).exists()
    assert mentioning(folder) == []


def said(playground: Child) -> str | None:
    playground.require_running()
    text = playground.log.read_text()
    return text if "Ctrl-C here" in text else None
