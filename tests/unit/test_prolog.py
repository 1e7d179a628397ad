"""lamplighter-prolog waits for its job's nodes, and does no harm whatever happens."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.settings import ConfigError
from tests.testbed.prolog_scripts import NOBODY, SCRIPT, Scripts
from tests.testbed.waiting import until
from workers.slurm.nodes import NodeState
from workers.slurm.prolog_fifos import Arrival, PrologFifos
from workers.slurm.prolog_release import PrologJob, Release, has_left, release
from workers.slurm.prolog_slots import default_slots, is_tuned

if TYPE_CHECKING:
    from collections.abc import Iterator

# Far beyond what a script takes that waits for nothing, below the 2 s for which it waits for an answer.
AT_ONCE = 1.5


@pytest.fixture
def scripts(run_dir: Path) -> Iterator[Scripts]:
    with Scripts(run_dir / "prolog") as running:
        yield running


@pytest.fixture
def fifos(scripts: Scripts) -> Iterator[PrologFifos]:
    with PrologFifos(scripts.folder) as watched:
        yield watched


def arrival(fifos: PrologFifos) -> Arrival:
    """The next script that comes."""
    found: list[Arrival] = []

    def came() -> bool:
        fifos.wait(0.1)
        found.extend(fifos.arrivals())
        return bool(found)

    until(came, 10, "a script to come")
    (one,) = found
    return one


@pytest.mark.slow
def test_it_waits_until_it_is_let_go(scripts: Scripts, fifos: PrologFifos) -> None:
    script = scripts.start()
    came = arrival(fifos)
    assert (came.job_id, came.hostlist) == (7, "node[1-3]")
    for _ in range(3):
        fifos.keep(came.fd, 2)
        with pytest.raises(subprocess.TimeoutExpired):
            script.wait(1)
    fifos.let_go(came.fd)
    assert script.wait(10) == 0


@pytest.mark.slow
def test_it_goes_on_when_the_worker_says_nothing_for_longer_than_it_said(
    scripts: Scripts, fifos: PrologFifos
) -> None:
    silent = scripts.start()
    arrival(fifos)
    hung = scripts.start()
    fifos.keep(arrival(fifos).fd, 1)
    assert (silent.wait(10), hung.wait(10)) == (0, 0)


def test_it_goes_on_when_the_worker_dies(scripts: Scripts) -> None:
    with PrologFifos(scripts.folder) as fifos:
        script = scripts.start()
        fifos.keep(arrival(fifos).fd, 60)
    assert script.wait(10) == 0


def test_it_goes_on_at_once_without_a_worker(scripts: Scripts) -> None:
    assert scripts.start().wait(AT_ONCE) == 0  # no folder
    with PrologFifos(scripts.folder):
        pass
    assert scripts.start().wait(AT_ONCE) == 0
    assert sorted(path.name for path in scripts.folder.iterdir()) == ["alive", "door"]


def test_it_goes_on_at_once_if_the_fifos_are_files(scripts: Scripts) -> None:
    scripts.folder.mkdir()
    for name in ("alive", "door"):
        (scripts.folder / name).write_text("x")
    assert scripts.start().wait(AT_ONCE) == 0
    with PrologFifos(scripts.folder) as fifos:
        script = scripts.start()
        fifos.let_go(arrival(fifos).fd)
        assert script.wait(10) == 0


def test_it_goes_on_at_once_in_a_folder_of_another_user(
    scripts: Scripts, fifos: PrologFifos
) -> None:
    if os.geteuid() == 0:
        scripts.give_away()
        assert scripts.start().wait(AT_ONCE) == 0
        assert list(fifos.arrivals()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_JOB_ID", ""),
        ("SLURM_JOB_ID", "0"),
        ("SLURM_JOB_ID", "007"),
        ("SLURM_JOB_ID", "../../etc/x"),
        ("SLURM_JOB_ID", "7 8"),
        ("SLURM_JOB_ID", "-1"),
        ("SLURM_JOB_ID", "$(touch hacked)"),
        ("SLURM_JOB_ID", "a[$(touch hacked)]"),
        ("SLURM_JOB_NODELIST", ""),
        ("SLURM_JOB_NODELIST", "node1\nwait.1.1 node2"),
        ("SLURM_JOB_NODELIST", "node1 node2"),
        ("SLURM_JOB_NODELIST", "n" * 5000),
    ],
)
def test_hostile_variables_are_not_passed_on(
    scripts: Scripts, fifos: PrologFifos, name: str, value: str
) -> None:
    hostile = {name: value, "SLURM_JOB_NAME": "$(touch hacked)", "BASH_ENV": "/dev/stdin"}
    script = scripts.start(**hostile)
    assert script.wait(AT_ONCE) == 0
    assert list(fifos.arrivals()) == []
    assert sorted(path.name for path in scripts.folder.iterdir()) == ["alive", "door"]


def test_a_script_that_was_killed_is_noticed(scripts: Scripts, fifos: PrologFifos) -> None:
    script = scripts.start()
    came = arrival(fifos)
    other = scripts.start(SLURM_JOB_ID="8")
    stays = arrival(fifos)
    fifos.keep(came.fd, 60)
    fifos.keep(stays.fd, 60)
    script.kill()
    until(lambda: fifos.ended([came.fd, stays.fd]) == {came.fd}, 10, "its end")
    fifos.let_go(stays.fd)
    assert other.wait(10) == 0


def test_all_are_released_on_demand(scripts: Scripts, fifos: PrologFifos) -> None:
    script = scripts.start("--release")
    came = arrival(fifos)
    assert came.job_id == 0
    fifos.let_go(came.fd)
    assert script.wait(10) == 0


@pytest.mark.parametrize("nodes", ["n" * 3900, "n"])
def test_no_script_waits_for_a_worker_that_does_not_read(
    scripts: Scripts, fifos: PrologFifos, nodes: str
) -> None:
    """The door is full, as after hours in which the worker hung, or nearly so."""
    door = os.open(scripts.folder / "door", os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while os.write(door, b"x" * 4096):
            pass
    os.close(door)
    many = [scripts.start(SLURM_JOB_NODELIST=nodes) for _ in range(4)]
    assert [script.wait(10) for script in many] == [0] * 4
    assert sorted(path.name for path in scripts.folder.iterdir()) == ["alive", "door"]
    assert list(fifos.arrivals()) == []


def test_root_releases_the_scripts_of_slurmuser(scripts: Scripts, fifos: PrologFifos) -> None:
    """ExecStop runs as root if slurmctld's unit names no user."""
    if os.geteuid() == 0:
        scripts.give_away()
        script = scripts.start("--release")
        until(lambda: list(scripts.folder.glob("wait.*")), 10, "its FIFO")
        (fifo,) = scripts.folder.glob("wait.*")
        assert (fifo.owner(), fifo.stat().st_gid) == ("nobody", NOBODY)
        came = arrival(fifos)
        assert came.job_id == 0
        fifos.let_go(came.fd)
        assert script.wait(10) == 0


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "PIPE", "TERM", "USR1", "USR2", "XCPU"])
def test_it_exits_with_0_when_a_signal_ends_it(
    scripts: Scripts, fifos: PrologFifos, name: str
) -> None:
    """24.11 blocks none, and systemd sends SIGTERM to all processes of slurmctld's unit."""
    scripts.blocked = set()
    script = scripts.start()
    fifos.keep(arrival(fifos).fd, 60)
    script.send_signal(getattr(signal, f"SIG{name}"))
    assert script.wait(10) == 0


def test_with_a_bash_that_needs_sigalrm_it_waits_only_where_that_is_not_blocked(
    scripts: Scripts, fifos: PrologFifos, run_dir: Path
) -> None:
    """Bash before 5.2, as in RHEL 9, limits a read by SIGALRM, which Slurm 22.05 blocks."""
    scripts.program = run_dir / "variant.bash"
    scripts.program.write_text(SCRIPT.read_text().replace(" < 502", " < 9999"))
    scripts.program.chmod(0o755)
    script = scripts.start()
    came = arrival(fifos)
    (child,) = Path(f"/proc/{script.pid}/task/{script.pid}/children").read_text().split()
    blocked = re.search("^SigBlk:(.+)$", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
    assert blocked is not None
    assert int(blocked[1], 16) >> (signal.SIGALRM - 1) & 1 == 0
    fifos.let_go(came.fd)
    assert script.wait(10) == 0
    # where env is too old to unblock it, no job waits
    assert scripts.start(unblocked="1").wait(AT_ONCE) == 0


@pytest.mark.slow
@pytest.mark.parametrize("posix", [{}, {"POSIXLY_CORRECT": "1"}])
@pytest.mark.parametrize(
    ("kind", "most"),
    [*((resource.RLIMIT_NOFILE, most) for most in range(4, 12)), (resource.RLIMIT_FSIZE, 0)],
)
def test_it_exits_with_0_whatever_the_kernel_refuses(
    scripts: Scripts, fifos: PrologFifos, kind: int, most: int, posix: dict[str, str]
) -> None:
    """Another status lets Slurm requeue a batch job endlessly."""
    scripts.limits = {kind: most}
    script = scripts.start(**posix)

    def status() -> tuple[int] | None:
        for came in fifos.arrivals():
            fifos.let_go(came.fd)
        return None if script.poll() is None else (script.returncode,)

    assert until(status, 20, "its end") == (0,)


@pytest.mark.slow
def test_it_exits_with_0_if_it_may_not_start_a_process(
    scripts: Scripts, fifos: PrologFifos
) -> None:
    """It tries for 15 s."""
    if os.geteuid() == 0:
        scripts.give_away()
        scripts.user, scripts.limits = NOBODY, {resource.RLIMIT_NPROC: 0}
        assert scripts.start().wait(40) == 0
        assert list(fifos.arrivals()) == []


def test_each_needs_less_than_300_kb_while_it_waits(scripts: Scripts, fifos: PrologFifos) -> None:
    """Beside the clean pages of bash itself, which all scripts share and the kernel may drop."""
    script = scripts.start()
    fifos.keep(arrival(fifos).fd, 60)
    memory = Path(f"/proc/{script.pid}/smaps_rollup").read_text()
    private = re.findall(r"^(?:Private_Dirty|Swap): +([0-9]+) kB", memory, re.MULTILINE)
    assert sum(map(int, private)) < 300, memory


def test_two_workers_do_not_share_a_folder(scripts: Scripts, fifos: PrologFifos) -> None:
    with pytest.raises(ConfigError, match="another slurm worker"), ExitStack() as stack:
        stack.enter_context(PrologFifos(scripts.folder))
    script = scripts.start()
    fifos.let_go(arrival(fifos).fd)
    assert script.wait(10) == 0


def test_a_failed_start_leaves_the_folder_to_the_next_one(scripts: Scripts) -> None:
    obstacle = scripts.folder / "wait.1.1"
    obstacle.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"wait\.1\.1"):
        PrologFifos(scripts.folder)
    obstacle.rmdir()
    with PrologFifos(scripts.folder) as fifos:
        script = scripts.start()
        fifos.let_go(arrival(fifos).fd)
        assert script.wait(10) == 0


def test_a_script_that_removes_its_fifo_does_not_disturb_a_worker_that_starts(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not got an answer, and goes on."""
    gone = scripts.folder / "wait.1.1"
    monkeypatch.setattr(Path, "glob", lambda _folder, _pattern: [gone])
    with PrologFifos(scripts.folder) as fifos:
        script = scripts.start()
        fifos.let_go(arrival(fifos).fd)
        assert script.wait(10) == 0


@pytest.fixture
def many_files() -> Iterator[None]:
    """More than 1,024 open files: select(2) takes no number above."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files: list[int] = []
    try:
        while not files or files[-1] < 1100:
            files.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for fd in files:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_more_than_1024_files_may_be_open(scripts: Scripts) -> None:
    with PrologFifos(scripts.folder) as fifos:
        script = scripts.start()
        fifos.let_go(arrival(fifos).fd)
        assert script.wait(10) == 0


def test_an_unusable_folder_is_named(run_dir: Path) -> None:
    (run_dir / "file").write_text("")
    with pytest.raises(ConfigError, match=r"slurm.prolog: .*file"):
        PrologFifos(run_dir / "file")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_no_job_waits_in_a_folder_that_others_can_change(scripts: Scripts, mode: int) -> None:
    """They could say in the worker's place that a job waits."""
    scripts.folder.mkdir()
    scripts.folder.chmod(mode)
    with pytest.raises(ConfigError, match=r"slurm.prolog: .* can be changed by other users"):
        PrologFifos(scripts.folder)


def test_it_goes_on_at_once_if_the_fifos_are_another_users(
    scripts: Scripts, fifos: PrologFifos
) -> None:
    if os.geteuid() == 0:
        for path in scripts.folder.iterdir():
            os.chown(path, NOBODY, NOBODY)
        assert scripts.start().wait(AT_ONCE) == 0
        assert list(fifos.arrivals()) == []


@given(text=st.binary(max_size=300))
def test_any_line_at_the_door_is_an_arrival_or_ignored(text: bytes) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fifos = stack.enter_context(PrologFifos(folder))
        door = os.open(folder / "door", os.O_WRONLY)
        os.write(door, text + b"\nwait.1.1 ../../etc\n")
        os.close(door)
        assert list(fifos.arrivals()) == []


# -- the decision

JOB_7 = PrologJob(7, ("node1", "node2"), until=100.0)
READY = NodeState("node1", "MIXED", frozenset({"CLOUD"}))
BOOTING = NodeState("node2", "MIXED", frozenset({"CLOUD", "NOT_RESPONDING", "POWERING_UP"}))


def decided(other: NodeState | None, now: float = 50.0) -> Release | None:
    nodes = {"node1": READY} | ({"node2": other} if other else {})
    return release(JOB_7, nodes, now)


def test_a_job_waits_for_its_last_node() -> None:
    assert decided(BOOTING) is None
    assert decided(NodeState("node2", "ALLOCATED", frozenset({"POWERED_DOWN"}))) is None
    assert decided(NodeState("node2", "ALLOCATED", frozenset({"CLOUD"}))) is Release.READY


def test_a_job_does_not_wait_for_a_node_that_was_up_and_missed_a_ping() -> None:
    """Slurmctld starts the job on it, and may not ping it again for 100 s (a third of SlurmdTimeout)."""
    missed = NodeState("node2", "MIXED", frozenset({"CLOUD", "NOT_RESPONDING"}))
    assert decided(missed) is Release.READY


@pytest.mark.parametrize("flag", ["DRAIN", "FAIL", "POWER_DOWN", "POWERING_DOWN"])
def test_a_job_goes_on_when_a_node_does_not_become_ready(flag: str) -> None:
    assert decided(NodeState("node2", "MIXED", BOOTING.flags | {flag})) is Release.NODE_FAILED
    assert decided(NodeState("node2", "DOWN", BOOTING.flags)) is Release.NODE_FAILED
    assert decided(None) is Release.NODE_FAILED


def test_a_job_goes_on_when_it_has_left_its_nodes() -> None:
    assert has_left(7, "slurm_load_jobs error: Invalid job id specified\n")
    assert not has_left(7, "JobId=7 JobName=a JobState=CONFIGURING Reason=None\n")
    assert not has_left(7, "slurm_load_jobs error: Unable to contact slurm controller\n")
    for state in ("PENDING", "COMPLETING", "CANCELLED", "RUNNING", "anything"):
        assert has_left(7, f"JobId=8 JobState=FAILED x\nJobId=7 JobName=a JobState={state} R=x\n")
    assert decided(NodeState("node2", "IDLE", BOOTING.flags)) is Release.LEFT


@pytest.mark.parametrize("name", ["a JobState=PENDING", "a\nJobId=7 JobState=PENDING", "a\nb"])
def test_the_name_of_a_job_ends_no_wait(name: str) -> None:
    """Neither its own nor another's."""
    own = "JobId=7 JobName=a JobState=CONFIGURING Reason=None\n"
    shown = f"JobId=8 JobName={name} JobState=CONFIGURING Reason=None\n"
    assert not has_left(7, own + shown)
    assert not has_left(8, own + shown)


def test_a_requeued_task_of_an_array_is_noticed_although_slurm_shows_it_twice() -> None:
    """With the first task, too; so it does with the parts of a heterogeneous job."""
    task = "JobId=8 ArrayJobId=7 ArrayTaskId=1 JobName=a JobState=PENDING Reason=JobHeldUser\n"
    first = "JobId=7 ArrayJobId=7 ArrayTaskId=2 JobName=a JobState=CONFIGURING Reason=None\n"
    shown = f"{task}\nscontrol: show job 7\n{first}{task}"
    assert has_left(8, shown)
    assert not has_left(7, shown)
    other = task.replace("PENDING", "CONFIGURING")
    assert not has_left(8, f"{shown}{other}{task}"), "what imitates it ends no wait"


def test_a_job_does_not_wait_longer_than_its_ceiling() -> None:
    assert decided(BOOTING, 99.0) is None
    assert decided(BOOTING, 100.0) is Release.CEILING


# -- the slots


def process(proc: Path, number: int, name: str, environ: bytes) -> None:
    folder = proc / str(number)
    folder.mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "environ").write_bytes(environ)


CACHE = b"A=1\0GLIBC_TUNABLES=glibc.malloc.check=1:glibc.pthread.stack_cache_size=2147483648\0B=2"


def test_the_glibc_setting_is_read_from_slurmctlds_environment(tmp_path: Path) -> None:
    assert is_tuned(tmp_path) is None
    process(tmp_path, 1, "bash", CACHE)
    assert is_tuned(tmp_path) is None
    process(tmp_path, 2, "slurmctld", CACHE)
    assert is_tuned(tmp_path) is True
    process(tmp_path, 3, "slurmctld", b"PATH=/bin")
    assert is_tuned(tmp_path) is False, "which of them is ours is not known"


@pytest.mark.parametrize("libc", ["glibc 2.33", "glibc 2.28", "glibc 1.99", "musl 1.2.4", ""])
def test_a_libc_that_does_not_know_the_setting_ignores_it(tmp_path: Path, libc: str) -> None:
    process(tmp_path, 2, "slurmctld", CACHE)
    assert is_tuned(tmp_path, libc) is False
    assert is_tuned(tmp_path, "glibc 2.34") is True


@pytest.mark.parametrize(
    "value",
    [b"", b"x", b"glibc.pthread.stack_cache_size=4096", b"glibc.pthread.stack_cache_size=2G"],
)
def test_a_glibc_setting_that_does_not_help_does_not_count(tmp_path: Path, value: bytes) -> None:
    process(tmp_path, 2, "slurmctld", b"GLIBC_TUNABLES=" + value)
    assert is_tuned(tmp_path) is False


def test_slots_follow_the_version_and_the_setting() -> None:
    versions = {"slurm-wlm 22.05.8": 10, "slurm 23.02.1": 10, "slurm 23.11.0": 40}
    versions |= {"slurm-wlm 24.11.5": 40, "slurm 26.05.0": 1000, "nonsense": 10}
    assert {one: default_slots(one, tuned=False) for one in versions} == versions
    assert default_slots("slurm-wlm 22.05.8", tuned=None) == 10
    assert default_slots("slurm-wlm 22.05.8", tuned=True) == 1000
