"""The private Slurm of the test bed is a real one, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = "#!/bin/sh\necho hello from $SLURMD_NODENAME\n"

# Writes its arguments and environment as one line of JSON; like all hooks, it depends on nothing.
PROBE = """#!{python} -IS
import json, os, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
seen = dict(argv=sys.argv[1:], env=dict(os.environ), blocked=status["SigBlk"].strip())
seen["fds"] = [n for n in range(3) if os.path.lexists("/proc/self/fd/%d" % n)]
resume_file = os.environ.get("SLURM_RESUME_FILE")
seen["resume_file"] = open(resume_file).read() if resume_file else None
with open("{calls}", "a") as calls:
    calls.write(json.dumps(seen) + "\\n")
"""


def running(*words: str) -> list[psutil.Process]:
    """Return all processes with these words in their command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if set(words) <= set(process.info["cmdline"] or [])
    ]


class Probe:
    """A hook that records its calls."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self._calls = folder / f"{name}.calls"
        self.path.write_text(PROBE.format(python=sys.executable, calls=self._calls))
        self.path.chmod(0o755)

    def calls(self) -> list[dict[str, object]]:
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


@pytest.fixture
def probes(run_dir: Path) -> dict[str, Probe]:
    return {name: Probe(run_dir, name) for name in ("resume", "suspend", "resume_fail")}


def test_a_job_resumes_a_node_runs_there_and_the_idle_node_is_suspended(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm], probes: dict[str, Probe]
) -> None:
    slurm = slurm_factory(
        SlurmSettings(resume=probes["resume"].path, suspend=probes["suspend"].path, suspend_time=5)
    )
    assert slurm.node_state("node1") == {"IDLE", "CLOUD", "POWERED_DOWN"}

    job = slurm.sbatch(HELLO, nodelist="node1")
    (call,) = until(probes["resume"].calls, 20, "the call of ResumeProgram")
    assert call["argv"] == ["node1"]
    assert "POWERING_UP" in slurm.node_state("node1")

    slurm.boot("node1")
    # Slurm checks the jobs of a newly registered node every 30 s.
    until(lambda: slurm.job_state(job) == "COMPLETED", 60, "the job's end")
    assert slurm.job_node(job) == "node1"
    assert slurm.output(job) == "hello from node1\n"

    (call,) = until(probes["suspend"].calls, 60, "the call of SuspendProgram")
    assert call["argv"] == ["node1"]
    slurm.halt("node1")
    until(lambda: "POWERED_DOWN" in slurm.node_state("node1"), 30, "the node to be powered down")
    assert slurm.booted() == []


def test_a_hook_gets_arguments_and_environment_as_on_a_real_cluster(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm], probes: dict[str, Probe]
) -> None:
    slurm = slurm_factory(
        SlurmSettings(resume=probes["resume"].path, suspend=probes["suspend"].path)
    )
    slurm.sbatch(HELLO, nodes=2)
    (call,) = until(probes["resume"].calls, 20, "the call of ResumeProgram")
    assert call["argv"] == ["node[1-2]"]
    env = call["env"]
    assert isinstance(env, dict)
    # LC_CTYPE comes from the probe's own interpreter.
    assert env.keys() - {"LC_CTYPE"} == {"SLURM_CONF", "SLURM_RESUME_FILE"}
    assert env["SLURM_CONF"] == str(slurm.conf)
    assert "node[1-2]" in str(call["resume_file"])
    if slurm.version == (22, 5):
        assert call["fds"] == []
        assert int(str(call["blocked"]), 16) & 0x887A27 == 0x887A27


def test_a_node_that_never_boots_is_set_down_and_resume_fail_is_called(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm], probes: dict[str, Probe]
) -> None:
    slurm = slurm_factory(
        SlurmSettings(
            resume=probes["resume"].path, resume_fail=probes["resume_fail"].path, resume_timeout=5
        )
    )
    slurm.sbatch(HELLO, nodelist="node2")
    (call,) = until(probes["resume_fail"].calls, 60, "the call of ResumeFailProgram")
    assert call["argv"] == ["node2"]
    assert "DOWN" in slurm.node_state("node2")
    assert slurm.node_reason("node2") == "ResumeTimeout reached"


def test_slurmctld_keeps_its_jobs_over_a_kill_and_a_restart(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm],
) -> None:
    slurm = slurm_factory(SlurmSettings(nodes=1))
    job = slurm.sbatch(HELLO)
    # slurmctld saves its state after some seconds.
    until((slurm.layout.folder / "state" / "job_state").exists, 20, "the saved state")
    slurm.kill9_ctld()
    slurm.start_ctld()
    assert slurm.job_state(job) in {"PENDING", "CONFIGURING"}
    slurm.restart_ctld()
    assert slurm.job_state(job) in {"PENDING", "CONFIGURING"}


def test_a_halted_node_loses_its_jobs_and_can_boot_again(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm],
) -> None:
    slurm = slurm_factory(SlurmSettings(nodes=1, always_on=True))
    slurm.sbatch("#!/bin/sh\nexec sleep 1234.5\n", partition="static", no_requeue=True)

    until(lambda: running("1234.5"), 30, "the job's process")
    slurm.halt("static1")
    assert running("1234.5") == []
    slurm.halt("static1")  # nothing to do
    assert slurm.booted() == []
    slurm.boot("static1")
    first = running(str(slurm.conf), "static1")
    slurm.boot("static1")  # nothing to do
    assert running(str(slurm.conf), "static1") == first


def test_nodes_boot_and_halt_by_a_command_with_an_empty_environment(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm],
) -> None:
    """The power hook of a simulated cloud calls it like this."""
    slurm = slurm_factory(SlurmSettings())

    def command(action: str) -> None:
        argv = [sys.executable, "-m", "tests.testbed.slurmnode", action, "node2"]
        subprocess.run([*argv, "--slurm-conf", str(slurm.conf)], env={}, check=True, cwd="/")

    command("boot")
    assert slurm.booted() == ["node2"]
    assert running("slurmd", "node2", str(slurm.conf))
    command("halt")
    assert running("slurmd", "node2", str(slurm.conf)) == []


def test_no_node_boots_after_the_end(run_dir: Path) -> None:
    """A cloud that still runs may power a server on meanwhile."""
    with PrivateSlurm(run_dir / "slurm", SlurmSettings()) as slurm:
        slurm.boot("node1")
    assert running("slurmd", str(slurm.conf)) == []
    slurm.boot("node1")
    slurm.boot("node2")
    assert running("slurmd", str(slurm.conf)) == []


def test_all_daemons_listen_on_loopback_only_below_the_ephemeral_ports(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm],
) -> None:
    slurm = slurm_factory(SlurmSettings(nodes=1, always_on=True))
    sockets = {
        connection.laddr
        for process in [*running("slurmctld", str(slurm.conf)), *running("slurmd", str(slurm.conf))]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(sockets) == 2
    assert {address.ip for address in sockets} == {"127.0.0.1"}
    assert all(address.port < 32768 for address in sockets)


def test_close_leaves_nothing_running_not_even_a_hook(run_dir: Path) -> None:
    hook = run_dir / "hook"
    hook.write_text(f"#!/bin/sh\necho $$ >{run_dir}/pid\nexec /usr/bin/sleep 1000\n")
    hook.chmod(0o755)
    with PrivateSlurm(run_dir / "slurm", SlurmSettings(always_on=True, resume=hook)) as slurm:
        slurm.sbatch(HELLO)
        pid = int(until(lambda: _text(run_dir / "pid"), 20, "the hook's call"))
    until(lambda: not psutil.pid_exists(pid) or _is_zombie(pid), 5, "the hook's end")
    left = [
        process.info
        for process in psutil.process_iter(["cmdline"])
        if any(str(run_dir) in word for word in process.info["cmdline"] or [])
    ]
    assert left == []


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("name", "mode", "complaint"),
    [
        ("hook", 0o777, "chmod go-w"),
        ("hook", 0o644, "executable"),
        ("missing", None, "executable"),
    ],
)
def test_hooks_for_which_slurm_would_switch_power_saving_off_are_refused(
    tmp_path: Path, name: str, mode: int | None, complaint: str
) -> None:
    path = tmp_path / name
    if mode is not None:
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    with pytest.raises(ValueError, match=f"suspend: .*{complaint}"):
        SlurmSettings(suspend=path)
    with pytest.raises(ValueError, match="absolute"):
        SlurmSettings(suspend=Path(os.path.relpath(path)))
