"""Due nodes: another worker may have handled them while this process was stopped."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from schemas import events
from schemas.commands import Kind
from schemas.events import Cause, Transition
from schemas.snapshot import RESUME_TIMEOUT
from tests.testbed.deliveries import RecordingLink, delivery, pending
from tests.testbed.installation import CLUSTER, ONE_GROUP, Installation
from tests.testbed.messages import command
from tests.testbed.stores import STORES
from workers.process.runtime import Runtime
from workers.slurm import scontrol
from workers.slurm.metrics import SlurmMetrics
from workers.slurm.node_memory import Due, NodeMemory, recall, remember
from workers.slurm.node_updates import NodeUpdates
from workers.slurm.scontrol import Slurm
from workers.store import holds, requests
from workers.store.database import open_store
from workers.store.holds import Hold
from workers.store.lease_owner import Lease, Owner
from workers.store.power_store import Batch, PowerStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa

    from schemas.commands import PowerCommand

NS = 10**9
REASON = "lamplighter: quota: none"
UNREGISTERED = "lamplighter: resume_timeout: slurmd did not register within ResumeTimeout"
DUE = NodeMemory("node1", 7, 1, Due.RETURN, 1, "quota", REASON, 1)
LINE = f"NodeName=node1 State=DOWN+CLOUD+POWERED_DOWN NodeAddr=x Reason={REASON} [root@2026]"


class FakeCommands:
    """scontrol with one node that is out of service; `on_read` is called after the first reading.

    `job` has the fields of the one job that squeue shows, if there is one.
    """

    def __init__(self, _settings: object) -> None:
        self.line = LINE
        self.job: tuple[str, ...] = ()
        self.updates: list[tuple[str, ...]] = []
        self.on_read: Callable[[], None] = lambda: None

    def query(self, _program: str, *arguments: str) -> str:
        return self.run(_program, *arguments)

    def run(self, _program: str, *arguments: str) -> str:
        if arguments[0] == "update":
            self.updates.append(arguments[1:])
            return ""
        if _program == "squeue":
            mark = arguments[-1].partition(":")[2].partition(",")[0]
            return "".join(f"{field}{mark}" for field in self.job)
        self.on_read()
        return self.line


class Bench:
    """A worker's updates, its store, and a fake scontrol."""

    def __init__(self, run: Runtime) -> None:
        self.store = run.store
        slurm = Slurm(run.settings)
        commands = slurm._commands
        assert isinstance(commands, FakeCommands)
        self.commands = commands
        metrics = SlurmMetrics(CollectorRegistry())
        self.updates = NodeUpdates(run, slurm, RecordingLink().link, metrics)

    def remember(self, memory: NodeMemory) -> None:
        with self.store.begin() as connection:
            remember(connection, CLUSTER, [memory])

    @property
    def memory(self) -> NodeMemory | None:
        with self.store.begin() as connection:
            return recall(connection, CLUSTER, ["node1"]).get("node1")


@pytest.fixture
def store(run_dir: Path) -> Iterator[sa.Engine]:
    engine = open_store(STORES.url(run_dir / "state.db"), "state")
    yield engine
    engine.dispose()


@pytest.fixture
def bench(run_dir: Path, store: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(scontrol, "SlurmCommands", FakeCommands)
    settings = Installation(
        run_dir / "site",
        "amqp://me:secret@127.0.0.1:1/v",
        more=f"{ONE_GROUP}\n[slurm]\nset_addresses = true\n",
    ).settings
    return Bench(Runtime(settings, "slurm", "slurm@test:1", store))


def test_node_returns_when_its_cool_down_is_over(bench: Bench) -> None:
    bench.remember(DUE)
    bench.updates.on_due()
    assert bench.commands.updates == [("NodeName=node1", "State=IDLE")]
    assert bench.memory is not None
    assert bench.memory.due is Due.FORGET


def test_node_that_another_worker_has_handled_meanwhile_is_not_updated(bench: Bench) -> None:
    """It returned the node, whose next boot failed too: with the same reason, and a longer cool-down."""
    bench.remember(DUE)
    newer = replace(DUE, generation=8, failures=2, failed_at=2, due_at=10**18)
    bench.commands.on_read = lambda: bench.remember(newer)
    bench.updates.on_due()
    assert bench.commands.updates == []
    assert bench.memory == newer


def test_lost_return_is_due_again_and_sent_again(bench: Bench) -> None:
    """Slurm still shows the node as out of service, although it confirmed the RESUME."""
    bench.remember(DUE)
    bench.updates.on_due()
    bench.updates.report_lost()
    assert bench.memory is not None
    assert bench.memory.due is Due.RETURN
    bench.remember(replace(bench.memory, due_at=1))
    bench.updates.on_due()
    assert bench.commands.updates == [("NodeName=node1", "State=IDLE")] * 2


def test_a_node_on_hold_that_slurm_has_lost_from_view_gets_no_jobs_before_its_release(
    bench: Bench,
) -> None:
    """It is under maintenance: its next job would wait for a boot that is parked."""
    bench.commands.line = "NodeName=node1 State=IDLE+CLOUD+POWERED_DOWN+NOT_RESPONDING NodeAddr=x"
    with bench.store.begin() as connection:
        holds.place(connection, CLUSTER, [Hold("node1", "disk swap", "me", 1)])
    bench.updates.report_lost()
    assert bench.commands.updates == []
    with bench.store.begin() as connection:
        holds.lift(connection, CLUSTER, ["node1"])
    bench.updates.report_lost()
    assert bench.commands.updates == [("NodeName=node1", "State=IDLE")]


def test_a_return_that_a_clock_of_tomorrow_has_set_is_due_at_the_next_search(bench: Bench) -> None:
    tomorrow = time.time_ns() + 86_400 * 10**9
    bench.remember(replace(DUE, due_at=tomorrow, failed_at=tomorrow))
    bench.updates.on_due()
    assert bench.commands.updates == []
    bench.updates.report_lost()
    bench.updates.on_due()
    assert bench.commands.updates == [("NodeName=node1", "State=IDLE")]


def test_a_job_that_lost_its_node_is_followed_though_the_clock_was_set_back_since(
    bench: Bench,
) -> None:
    """Generations are an hour ahead then. Slurm alone would delay the job for cred_expire."""
    asked(bench, ago=-3600.0)
    given_up = asked(bench, kind=Kind.RESUME_FAIL, ago=-3600.0)
    bench.commands.line = LINE.replace(REASON, RESUME_TIMEOUT)
    now = int(time.time())
    times = (str(now - seconds) for seconds in (700, 600, 5))
    bench.commands.job = ("7", "COMPLETING", "node1", *times, "ann", "0", "", "cloud", "", "N/A")
    event = events.transition_event(given_up, Transition.COMPLETED, round_=1, time=now * NS)
    bench.updates.on_events([(delivery(given_up), event)])
    assert bench.commands.updates == [("NodeName=node1", f"Reason={UNREGISTERED}")]
    assert bench.updates.jobs


# -- what slurmctld has lost: it was killed before it saved its state


BOOTING = "NodeName=node1 State=ALLOCATED+CLOUD+POWERING_UP NodeAddr=node1 NodeHostName=node1"
QUOTA = Cause("quota", "none")
STUCK = Cause("boot_timeout", "BUILD after 600 s")


def asked(bench: Bench, *, kind: Kind = Kind.RESUME, ago: float = 60.0) -> PowerCommand:
    """A request that a power worker has accepted, and released again."""
    generation = time.time_ns() - int(ago * NS)
    made = replace(command(kind=kind, generation=generation), expiry=generation + 600 * NS)
    with closing(Owner(bench.store.url)) as owner:
        store = PowerStore(bench.store, CLUSTER, Lease(owner, 60.0, settling=1.0))
        store.accept([pending(made)], [], generation)
        store.commit(Batch(released={"node1"}), generation)
    return made


def ended(
    bench: Bench, made: PowerCommand, cause: Cause | None, *, ago: float = 30.0, address: str = ""
) -> None:
    """The request's outcome, of which Slurm was told."""
    transition = Transition.FAILED if cause else Transition.COMPLETED
    at = time.time_ns() - int(ago * NS)
    event = events.transition_event(
        made, transition, round_=1, time=at, cause=cause, address=address or None
    )
    with bench.store.begin() as connection:
        requests.fix_outcomes(connection, CLUSTER, [event])


@pytest.mark.parametrize(
    ("cause", "address", "told"),
    [
        (QUOTA, "", [f"State=DOWN Reason={REASON}", "State=POWER_DOWN"]),
        (STUCK, "", [f"State=POWER_DOWN_FORCE Reason=lamplighter: boot_timeout: {STUCK.message}"]),
        (None, "10.0.0.7", ["NodeAddr=10.0.0.7"]),
    ],
    ids=["take_out", "give_back", "address"],
)
def test_what_slurm_was_told_of_a_boot_is_told_again_while_it_still_waits(
    bench: Bench, cause: Cause | None, address: str, told: list[str]
) -> None:
    ended(bench, asked(bench), cause, address=address)
    bench.commands.line = BOOTING
    bench.updates.report_lost()
    # an address that Slurm does not show afterwards is set once more
    assert list(dict.fromkeys(" ".join(words[1:]) for words in bench.commands.updates)) == told
    assert {words[0] for words in bench.commands.updates} == {"NodeName=node1"}


def test_a_boot_given_back_because_its_cloud_is_away_is_given_back_again(bench: Bench) -> None:
    made = asked(bench)
    away = NodeMemory("node1", made.generation, 0, Due.FORGET, 10**19 // 2, "network", REASON)
    bench.remember(replace(away, due_at=time.time_ns() + 60 * NS))
    bench.commands.line = BOOTING
    bench.updates.report_lost()
    bench.updates.on_due()
    (words,) = bench.commands.updates
    assert words == ("NodeName=node1", "State=POWER_DOWN_FORCE", f"Reason={REASON}")


@pytest.mark.parametrize("why", ["newer request", "on hold", "just ended", "over", "not booting"])
def test_what_is_no_longer_true_is_not_told_again(bench: Bench, why: str) -> None:
    made = asked(bench, ago=3600.0 if why == "over" else 60.0)
    ended(bench, made, QUOTA, ago=1.0 if why == "just ended" else 30.0)
    if why == "newer request":
        asked(bench, ago=20.0)
    if why == "on hold":
        with bench.store.begin() as connection:
            holds.place(connection, CLUSTER, [Hold("node1", "disk swap", "me", 1)])
    bench.commands.line = BOOTING.replace("+POWERING_UP", "") if why == "not booting" else BOOTING
    bench.updates.report_lost()
    bench.updates.on_due()
    assert bench.commands.updates == []
