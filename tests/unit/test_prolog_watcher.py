"""The watcher lets each script go in time, whatever slurmctld, its files and its own code do."""

from __future__ import annotations

import os
import resource
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry

from producers.hosts import expand
from tests.testbed.installation import Installation
from tests.testbed.prolog_scripts import Scripts
from tests.testbed.waiting import until
from workers.process.runtime import Runtime
from workers.slurm import prolog
from workers.slurm.metrics import PrologMetrics
from workers.slurm.prolog_fifos import PrologFifos
from workers.slurm.prolog_release import Release
from workers.store.heartbeats import PROBLEM

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa

    from workers.config.settings import Settings
    from workers.slurm.scontrol import Slurm

BOOTING = "NodeName=node1 State=ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP\n"
READY = "NodeName=node1 State=ALLOCATED+CLOUD\n"


@dataclass
class FakeSlurm:
    """A slurmctld and its scontrol: shows `nodes`, or does not answer; `jobs` have another state, or none."""

    nodes: str | None = BOOTING
    jobs: dict[int, str | None] = field(default_factory=dict)
    problems: list[Exception] = field(default_factory=list)
    release: str = "slurm-wlm 24.11.5"
    asked: int = 0
    asked_at: list[float] = field(default_factory=list)
    takes: float = 0.0  # seconds for each query
    closed: int = 0
    asked_jobs: list[int] = field(default_factory=list)
    query: str = ""
    fds: tuple[int, ...] = field(default_factory=os.pipe)  # nothing is ever written into it

    def session(self) -> FakeSlurm:
        return self

    def close(self) -> None:
        self.closed += 1

    def ask(self, query: str) -> None:
        assert query.startswith(("show node", "show job"))
        self.query = query
        self.asked += 1
        self.asked_at.append(time.monotonic())
        time.sleep(self.takes)
        if self.problems:
            raise self.problems.pop()

    def answer(self) -> str | None:
        if not self.query.startswith("show job"):
            return self.nodes
        found = [int(line.split()[-1]) for line in self.query.splitlines()]
        self.asked_jobs += found
        return "".join(map(self._shown, found))

    def _shown(self, job: int) -> str:
        state = self.jobs.get(job, "CONFIGURING")
        if state is None:
            return "slurm_load_jobs error: Invalid job id specified\n"
        return f"JobId={job} JobName=a JobState={state} Reason=None\n"

    def version(self) -> str:
        return self.release


@dataclass
class Bench:
    """Scripts, a slurmctld, and the watcher's metrics."""

    scripts: Scripts
    settings: Settings
    slurm: FakeSlurm = field(default_factory=FakeSlurm)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @contextmanager
    def watcher(self) -> Iterator[prolog.PrologWatcher]:
        with PrologFifos(self.scripts.folder) as fifos:
            metrics = PrologMetrics(self.registry)
            slurm = cast("Slurm", self.slurm)
            with closing(prolog.PrologWatcher(self.settings, slurm, fifos, metrics)) as made:
                yield made

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"lamplighter_prolog_{name}", labels) or 0

    def waits(self, count: int) -> bool:
        return self.value("waiting") == count

    def released(self, why: Release) -> bool:
        return self.value("released_total", reason=str(why)) >= 1

    def turn_until_released(self, watcher: prolog.PrologWatcher, why: Release) -> None:
        turn_until(watcher, lambda: self.released(why), f"the release: {why}")

    def turn_until_read(self, watcher: prolog.PrologWatcher) -> None:
        """Let the watcher see what Slurm shows now."""
        seen = self.slurm.asked + 3
        turn_until(watcher, lambda: self.slurm.asked >= seen, "the next reading's end")


def turn_until(watcher: prolog.PrologWatcher, condition: Callable[[], object], what: str) -> None:
    """Let the watcher work until a condition holds."""

    def turned() -> bool:
        watcher.turn(0.05)
        return bool(condition())

    until(turned, 20, what)


@pytest.fixture
def bench(run_dir: Path) -> Iterator[Bench]:
    more = f'[slurm]\nresume_timeout = 1\nprolog = "{run_dir}/prolog"\n'
    settings = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v", more=more).settings
    with Scripts(run_dir / "prolog") as scripts:
        bench = Bench(scripts, settings)
        pipe = bench.slurm.fds
        yield bench
        for fd in pipe:
            os.close(fd)


def test_a_job_goes_on_when_its_node_is_ready_and_the_metrics_say_so(bench: Bench) -> None:
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.value("waiting") == 1, "it to wait")
        assert bench.value("slots") in {40, 1000}
        bench.slurm.nodes = READY
        bench.turn_until_released(watcher, Release.READY)
        assert script.wait(10) == 0
        watcher.turn(0)
        assert bench.value("waiting") == 0


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [None, "", "slurm_load_node error: Unable to contact"])
def test_no_job_waits_for_a_slurmctld_that_does_not_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, nodes: str | None
) -> None:
    monkeypatch.setattr(prolog, "_AWAY", 1.0)
    bench.slurm.nodes = nodes
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        bench.turn_until_released(watcher, Release.AWAY)
        assert script.wait(10) == 0


@pytest.mark.slow
def test_a_job_whose_node_never_boots_goes_on_at_the_ceiling(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prolog, "GRACE", 1)
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        bench.turn_until_released(watcher, Release.CEILING)
        assert script.wait(10) == 0


def test_a_scontrol_that_ends_costs_no_job_its_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is asked at the next reading; none is taken for a slurmctld that does not answer."""
    monkeypatch.setattr(prolog, "_AWAY", 3600.0)
    bench.slurm.nodes, bench.slurm.fds = None, ()
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.slurm.asked > 1, "the next query")
        bench.slurm.nodes = READY
        bench.turn_until_released(watcher, Release.READY)
        assert script.wait(10) == 0


def test_a_job_that_has_left_a_shared_node_goes_on_at_the_next_reading(bench: Bench) -> None:
    """The node shows only that something has changed; the jobs that stay there wait on."""
    with bench.watcher() as watcher:
        left, stays = (
            bench.scripts.start(SLURM_JOB_NODELIST="node1", SLURM_JOB_ID=job) for job in "78"
        )
        turn_until(watcher, lambda: bench.value("waiting") == 2, "both to wait")
        watcher.turn(0.05)
        assert bench.slurm.asked_jobs == []
        bench.slurm.jobs[7] = "PENDING"
        bench.slurm.nodes = BOOTING.replace("\n", " LastBusyTime=7\n")
        bench.turn_until_released(watcher, Release.LEFT)
        assert left.wait(10) == 0
        assert bench.slurm.asked_jobs == [7, 8]
        assert stays.poll() is None
        bench.slurm.nodes = READY
        bench.turn_until_released(watcher, Release.READY)


@pytest.mark.parametrize(
    ("hostlist", "count"),
    [
        ("node[1-1000]", 1000),
        ("node[1-2],gpu-a[01-02,7],login", 6),
        ("rack[1-2]-node[001-003]", 6),
        ("n1,n2,n1", 2),
    ],
)
def test_a_job_waits_for_each_node_of_its_hostlist(bench: Bench, hostlist: str, count: int) -> None:
    names = expand(hostlist)
    assert len(names) == count
    booting, ready = (
        "".join(line.replace("node1", name) for name in names) for line in (BOOTING, READY)
    )
    bench.slurm.nodes = booting
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST=hostlist)
        turn_until(watcher, lambda: bench.value("waiting") == 1, "it to wait")
        for last in (0, count - 1):
            lines = ready.splitlines(keepends=True)
            lines[last] = booting.splitlines(keepends=True)[last]
            bench.slurm.nodes = "".join(lines)
            bench.turn_until_read(watcher)
            assert bench.value("waiting") == 1
        bench.slurm.nodes = ready
        bench.turn_until_released(watcher, Release.READY)
        assert script.wait(10) == 0


@pytest.mark.parametrize("shown", ["PENDING", None], ids=["requeued", "forgotten"])
def test_a_job_that_has_left_goes_on_also_if_its_nodes_do_not_show_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, shown: str | None
) -> None:
    monkeypatch.setattr(prolog, "_JOB_PACE", 0.0)
    bench.slurm.jobs[7] = shown
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1", SLURM_JOB_ID="7")
        bench.turn_until_released(watcher, Release.LEFT)
        assert script.wait(10) == 0


def test_slurm_is_asked_nothing_while_nobody_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before the first job comes nor after the last one has gone; then scontrol ends."""
    monkeypatch.setattr(prolog, "_IDLE", 0.0)
    with bench.watcher() as watcher:
        for _ in range(3):
            watcher.turn(0)
        assert bench.slurm.asked == 0
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        bench.slurm.nodes = READY
        bench.turn_until_released(watcher, Release.READY)
        assert script.wait(10) == 0
        asked, bench.slurm.closed = bench.slurm.asked, 0
        for _ in range(3):
            watcher.turn(prolog._LEAST)
        assert bench.slurm.asked == asked > 0
        assert bench.slurm.closed


def test_for_some_time_after_a_release_no_script_waits_and_none_counts_as_beyond_the_slots(
    bench: Bench,
) -> None:
    """What slurmctld starts between its ExecStop and its SIGTERM."""
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.waits(1), "it to wait")
        release = bench.scripts.start("--release")
        bench.turn_until_released(watcher, Release.LEFT)
        late = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        left = partial(bench.value, "released_total", reason=str(Release.LEFT))
        turn_until(watcher, lambda: left() == 2, "the late one to go")
        assert [one.wait(10) for one in (script, release, late)] == [0, 0, 0]
        assert bench.value("released_total", reason=str(Release.FULL)) == 0


def test_a_job_that_left_while_slurmctld_did_not_answer_is_looked_at(bench: Bench) -> None:
    """As during a reconfigure: the nodes are compared with those of the last answer."""
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.waits(1), "it to wait")
        bench.turn_until_read(watcher)
        bench.slurm.nodes = "slurm_load_node error: Zero Bytes were transmitted or received\n"
        bench.turn_until_read(watcher)
        bench.slurm.jobs = {7: "PENDING"}
        bench.slurm.nodes = BOOTING.replace(" State=", " CPUAlloc=1 State=")
        bench.turn_until_released(watcher, Release.LEFT)
        assert script.wait(10) == 0


@pytest.mark.parametrize("nodes", [BOOTING, None])
def test_a_script_gets_its_next_line_well_before_its_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, nodes: str | None
) -> None:
    """Also while an answer of slurmctld's is under way, or readings are seldom."""
    bench.slurm.nodes = nodes
    monkeypatch.setattr(prolog, "_LEAST", prolog._MOST)
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.value("waiting") == 1, "it to wait")
        wait = Mock(wraps=watcher._fifos.wait)
        monkeypatch.setattr(watcher._fifos, "wait", wait)
        for _ in range(3):
            watcher.turn(prolog._TURN)
        assert script.poll() is None
        assert max(call.args[0] for call in wait.call_args_list) <= prolog._LIMIT / 3


def test_jobs_that_come_one_after_the_other_cost_no_reading_after_the_other(bench: Bench) -> None:
    """As short jobs do on nodes that are up: where Slurm has thousands of nodes, a reading takes long."""
    bench.slurm.nodes, bench.slurm.takes = READY, 0.1
    with bench.watcher() as watcher:

        def goes_on(script: subprocess.Popen[bytes]) -> None:
            turn_until(watcher, lambda: script.poll() == 0, "it to go on")

        for _ in range(3):
            goes_on(bench.scripts.start(SLURM_JOB_NODELIST="node1"))
    pauses = [later - before for before, later in pairwise(bench.slurm.asked_at)]
    assert len(pauses) == 2
    assert min(pauses) >= bench.slurm.takes + prolog._LEAST


def test_a_script_that_comes_costs_no_line_for_each_that_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many come at once when slurmctld starts again; all get a line only when their limit grows."""
    monkeypatch.setattr(prolog, "_LIMIT", 90)
    with bench.watcher() as watcher:
        keep = Mock(wraps=watcher._fifos.keep)
        monkeypatch.setattr(watcher._fifos, "keep", keep)

        for number in range(1, 6):
            if number == 5:
                assert keep.call_count == 4
                monkeypatch.setattr(prolog, "_LIMIT", 93)
            bench.scripts.start(SLURM_JOB_NODELIST="node1")
            turn_until(watcher, partial(bench.waits, number), "it to wait")
        assert keep.call_count == 4 + 5


def test_an_answer_that_comes_in_parts_costs_few_turns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of 4 kB would cost a look at all scripts: the watcher waits for the rest of it."""
    monkeypatch.setattr(prolog, "_REST", 0.05)
    bench.slurm.nodes = None
    os.write(bench.slurm.fds[1], b"a part")
    with bench.watcher() as watcher:
        bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.slurm.asked, "the query")
        began = time.monotonic()
        for _ in range(4):
            watcher.turn(prolog._TURN)
        assert time.monotonic() - began >= 4 * prolog._REST


def test_after_a_failure_no_job_is_shown_as_waiting(bench: Bench) -> None:
    """Also while the watcher cannot start again: all scripts have gone on."""
    with bench.watcher() as watcher:
        bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.waits(1), "it to wait")
    assert bench.waits(0)


def test_no_more_jobs_wait_than_half_of_the_files_that_may_be_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2, 2))
    with bench.watcher() as watcher:
        scripts = [bench.scripts.start(SLURM_JOB_NODELIST="node1") for _ in range(2)]
        bench.turn_until_released(watcher, Release.FULL)
        assert (bench.value("slots"), bench.value("waiting")) == (1, 1)
        until(lambda: sum(script.poll() == 0 for script in scripts) == 1, 10, "one to go on")


@pytest.mark.parametrize("stopped", ["script killed", "all released"])
def test_the_slots_are_found_out_again_when_slurmctld_may_have_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    """The next one may be older, or lack GLIBC_TUNABLES; it runs the scripts of all jobs again at once."""
    monkeypatch.setattr(prolog, "_CLOSED", 0.0)
    monkeypatch.setattr(prolog, "is_tuned", lambda: False)
    with bench.watcher() as watcher:
        script = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.value("slots") == 40, "the slots")
        bench.slurm.release = "slurm-wlm 22.05.8"
        script.kill() if stopped == "script killed" else bench.scripts.start("--release")
        bench.turn_until_released(watcher, Release.LEFT)
        bench.scripts.start(SLURM_JOB_NODELIST="node1")
        turn_until(watcher, lambda: bench.waits(1), "it to wait")
        assert bench.value("slots") == 10


@pytest.mark.slow
def test_the_watcher_starts_again_after_any_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prolog, "_PAUSE", 0.1)
    bench.slurm.problems.append(ZeroDivisionError("a bug"))
    no_store = cast("sa.Engine", None)
    run = Runtime(bench.settings, "slurm", "slurm@test:1", no_store, registry=bench.registry)
    with prolog.prolog_watcher(run, cast("Slurm", bench.slurm)):
        until((bench.scripts.folder / "alive").exists, 10, "the watcher")
        assert bench.scripts.start(SLURM_JOB_NODELIST="node1").wait(10) == 0
        assert not bench.slurm.problems
        bench.slurm.nodes = READY

        def waited() -> bool:
            assert bench.scripts.start(SLURM_JOB_NODELIST="node1").wait(10) == 0
            return bench.released(Release.READY)

        until(waited, 20, "a job to go on because its node is ready")


@pytest.mark.slow
def test_a_folder_that_cannot_be_used_is_said_in_the_status_until_it_can(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prolog, "_PAUSE", 0.1)
    no_store = cast("sa.Engine", None)
    run = Runtime(bench.settings, "slurm", "slurm@test:1", no_store, registry=bench.registry)
    door = bench.scripts.folder / "door"
    door.mkdir(parents=True)
    with prolog.prolog_watcher(run, cast("Slurm", bench.slurm)):
        until(lambda: "jobs wait for Slurm's timer: slurm.prolog: " in run.status, 10, "the status")
        assert run.status.startswith(PROBLEM)
        door.rmdir()
        until(lambda: run.status == run.state, 10, "the status without it")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["folder", "door", "alive"])
def test_jobs_wait_again_after_the_folder_was_removed_or_replaced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Nobody comes through FIFOs that are no longer there; those who wait go on."""
    monkeypatch.setattr(prolog, "_PAUSE", 0.1)
    no_store = cast("sa.Engine", None)
    run = Runtime(bench.settings, "slurm", "slurm@test:1", no_store, registry=bench.registry)
    folder = bench.scripts.folder

    with prolog.prolog_watcher(run, cast("Slurm", bench.slurm)):
        until((folder / "alive").exists, 10, "the watcher")
        before = bench.scripts.start(SLURM_JOB_NODELIST="node1")
        until(lambda: bench.value("waiting") == 1, 20, "it to wait")
        if what == "folder":
            folder.rename(folder.with_name("old"))
        else:
            (folder / what).unlink()
        assert before.wait(20) == 0

        def waited() -> bool:
            bench.slurm.nodes = READY
            assert bench.scripts.start(SLURM_JOB_NODELIST="node1").wait(10) == 0
            return bench.released(Release.READY)

        until(waited, 20, "a job to wait for its node")
