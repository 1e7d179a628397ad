"""A step is carried out: requests are retried, parked or ended, and their node is released with its patience."""

from __future__ import annotations

import queue
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from schemas import headers
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import Cause, Transition, event_from
from schemas.server import Server
from tests.testbed.deliveries import RecordingLink, outbox_on, pending
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.pending_nodes import (
    CLUSTER,
    DOWN,
    GROUP,
    SERVER,
    TEMPLATE,
    UP,
    action,
    node,
    row,
)
from workers.broker.delivery import DeliveryHistory
from workers.clouds.actions import CREATE, DELETE, REBOOT, START, STOP
from workers.clouds.client import Listing
from workers.clouds.decide import Act
from workers.clouds.driver import Answered, CloudDriver, CloudEvent, Listed
from workers.clouds.errors import CloudError, NotWantedError
from workers.clouds.nova_requests import Call
from workers.config.groups import CloudSettings
from workers.config.logins import PasswordSource
from workers.config.tables import PowerSettings
from workers.power.admit import FIRST_TIER
from workers.power.carry_out import StepTaker
from workers.power.cloud_events import CloudEvents
from workers.power.metrics import PowerMetrics
from workers.power.next_step import BOOTS_STUCK
from workers.power.node import QUEUED, Calling, Decided, PendingNode, joined
from workers.power.publisher import Publisher
from workers.power.reception import HELD_ELSEWHERE
from workers.power.state import EngineState
from workers.power.steps import Finish, MakeCall, ParkNode, Retry, WaitFor
from workers.store.power_store import Batch, OtherBoot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producers.message import Message
    from schemas.commands import PowerCommand
    from schemas.events import CloudAction
    from workers.clouds.client import Cloud
    from workers.power.calls import Guard
    from workers.store.power_store import PowerStore
    from workers.store.slurm_view import SnapshotReader

CAUSE = Cause("server_side", "HTTP 500: boom")
SETTINGS = CloudSettings(
    auth_url="http://127.0.0.1:1/v3",
    source=PasswordSource(username="u", password_command=("true",)),
    project_id="p",
)
OLD = command(kind=Kind.SUSPEND, generation=MOMENT - 10**9)
OFF = replace(SERVER, status="SHUTOFF")


class NoCloud:
    """A cloud that lists no server, and shows those that are asked for one by one."""

    def list_servers(self, _since: str | None) -> Listing:
        return Listing([], "2026-01-01T00:00:00Z")

    def show_server(self, server_id: str) -> Server | None:
        return replace(SERVER, id=server_id)

    def close(self) -> None:
        """Nothing is open."""


class NoOtherBoots:
    """A store that no other worker uses."""

    def boots_elsewhere(self) -> list[OtherBoot]:
        return []


class Registered:
    """Slurm's snapshots: whether they show the node as running."""

    def __init__(self) -> None:
        self.shown = False
        self.asked: list[tuple[str, int]] = []

    def has_registered(self, name: str, generation: int) -> bool:
        self.asked.append((name, generation))
        return self.shown


class Bench:
    """A step taker, its state, and what it publishes."""

    def __init__(self) -> None:
        self.link = RecordingLink()
        self.state = EngineState()
        self.posted: queue.Queue[CloudEvent] = queue.Queue()
        self.driver = CloudDriver(
            "main", CLUSTER, SETTINGS, cast("Cloud", NoCloud()), self.posted.put
        )
        self.snapshots = Registered()
        metrics = PowerMetrics(CollectorRegistry())
        self.publisher = Publisher(outbox_on(self.link), CLUSTER, metrics)
        self.steps = StepTaker(
            PowerSettings(),
            self.state,
            {"main": self.driver},
            cast("PowerStore", NoOtherBoots()),
            cast("SnapshotReader", self.snapshots),
            self.publisher,
            registers_within=600.0,
            cloud_of={},
        )

    def put(self, waiting: PendingNode) -> PendingNode:
        """Keep a node whose patience began now."""
        now = time.monotonic()
        waiting = replace(waiting, fresh_after=now, patient_since=now)
        self.state.put(waiting)
        return waiting

    def lists(self, *servers: Server) -> None:
        """A whole listing that was requested just now."""
        self.driver.view.fold(servers, time.monotonic(), whole=True)

    def sent(self, exchange: str) -> list[Message]:
        return [m for m in self.link.published if m.exchange.startswith(exchange)]

    def told(self) -> list[Transition]:
        return [event_from(parse(message.body)).transition for message in self.sent("power.events")]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.driver.close()


# -- listings


@pytest.mark.parametrize(
    ("listed", "made", "kept"),
    [
        (False, (), {"id-1"}),
        (True, (), {"id-1"}),
        (True, (action(CREATE, server="id-2"),), {"id-1", "id-2"}),
        (True, (action(CREATE, server="id-2"), action(DELETE, server="id-2")), {"id-1"}),
        (True, (action(CREATE, server="none", result="timeout"),), {"id-1"}),
    ],
    ids=["first", "later", "created", "deleted since", "perhaps created"],
)
def test_a_listing_is_not_believed_about_servers_that_must_be_there(
    bench: Bench,
    listed: bool,  # noqa: FBT001
    made: tuple[CloudAction, ...],
    kept: set[str],
) -> None:
    """What was acted on last, and what the round has made."""
    waiting = node(UP, pending(UP), row=row(UP, "id-1"), actions={(UP.id, 1): made})
    bench.put(waiting)
    if listed:
        bench.lists(replace(SERVER, id="id-1"), Server("id-4", "a-stranger's", "ACTIVE"))
    bench.driver.list_whole_next()
    bench.steps.act()
    event = bench.posted.get(timeout=10)
    assert isinstance(event, Listed)
    bench.driver.listed(event)
    assert {server.id for server in bench.driver.view.servers} == kept


@pytest.mark.parametrize(("strategy", "kept"), [("stop", {"id-1"}), ("delete", set())])
def test_the_server_acted_on_last_is_not_gone_though_an_earlier_listing_lacked_it(
    bench: Bench, strategy: str, kept: set[str]
) -> None:
    """No node was pending for it then. Where servers are deleted, it is expected to be gone."""
    group = msgspec.structs.replace(GROUP, strategy=strategy, server=TEMPLATE)
    bench.put(node(UP, pending(UP), row=row(UP, "id-1"), group=group))
    bench.lists()
    bench.driver.list_whole_next()
    bench.steps.act()
    event = bench.posted.get(timeout=10)
    assert isinstance(event, Listed)
    bench.driver.listed(event)
    assert {server.id for server in bench.driver.view.servers} == kept


# -- retries


def test_a_failed_attempt_sends_every_waiting_request_to_its_next_tier(bench: Bench) -> None:
    waiting = pending(UP), pending(UP, DeliveryHistory(attempt=1))
    bench.steps.take(bench.put(node(UP, *waiting)), Retry(CAUSE))
    assert [m.exchange for m in bench.sent("power.retry")] == ["power.retry.5s", "power.retry.30s"]
    assert bench.told() == [Transition.RETRIED] * 2
    assert bench.state.nodes == {}
    assert bench.state.batch.released == {"node1"}
    bench.link.answer_all()
    assert bench.link.acked == [request.delivery for request in waiting]


def test_the_last_failed_attempt_ends_the_request(bench: Bench) -> None:
    waiting = bench.put(node(UP, pending(UP, DeliveryHistory(attempt=4))))
    bench.steps.take(waiting, Retry(CAUSE))
    assert bench.link.published == []
    ended, finish = bench.state.finished["node1"]
    assert ended == waiting
    assert finish == Finish(Transition.FAILED, CAUSE, None)


@pytest.mark.parametrize(
    "old", [OLD, replace(UP, generation=MOMENT - 10**9)], ids=["opposite", "same"]
)
def test_the_last_attempt_of_an_old_request_does_not_end_a_new_one(
    bench: Bench, old: PowerCommand
) -> None:
    waiting = node(UP, pending(old, DeliveryHistory(attempt=4)), pending(UP))
    bench.steps.take(bench.put(waiting), Retry(CAUSE))
    assert bench.state.finished == {}
    assert [m.headers[headers.ATTEMPT] for m in bench.sent("power.retry")] == [5, 1]


def test_a_late_request_alone_has_its_own_attempts(bench: Bench) -> None:
    waiting = node(UP, pending(OLD, DeliveryHistory(attempt=4)))
    bench.steps.take(bench.put(waiting), Retry(CAUSE))
    assert "node1" in bench.state.finished


def test_the_patience_of_a_round_goes_on_while_its_request_rests(bench: Bench) -> None:
    waiting = replace(bench.put(node(UP, pending(UP))), patient_since=time.monotonic() - 40.0)
    bench.steps.take(waiting, Retry(CAUSE))
    assert bench.state.batch.waited[UP.id, 1] == pytest.approx(45.0, abs=1.0)


# -- parking


def test_parking_keeps_attempts_and_ends_nothing(bench: Bench) -> None:
    waiting = bench.put(node(UP, pending(UP, DeliveryHistory(attempt=3))))
    bench.steps.take(waiting, ParkNode(CAUSE, "power.retry.30s"))
    [message] = bench.sent("power.retry")
    assert message.exchange == "power.retry.30s"
    assert (message.headers[headers.ATTEMPT], message.headers[headers.PARKED]) == (3, 1)
    assert bench.told() == [Transition.PARKED]
    assert (bench.state.nodes, bench.state.finished) == ({}, {})
    assert bench.state.batch.waited[UP.id, 1] == pytest.approx(30.0, abs=1.0)


def test_a_node_whose_requests_have_gone_is_given_up_and_does_not_rest(bench: Bench) -> None:
    """Its patience goes on with whoever gets its requests next, which may be at once."""
    left = bench.put(node(UP))
    bench.state.put(replace(left, patient_since=time.monotonic() - 40.0), touch=True)
    bench.lists(OFF)
    bench.steps.turn()
    bench.steps.act()
    assert (bench.state.nodes, bench.driver.waiting, bench.link.published) == ({}, 0, [])
    assert bench.state.batch.released == {"node1"}
    assert bench.state.batch.waited[UP.id, 1] == pytest.approx(40.0, abs=1.0)


def test_a_request_that_waits_for_its_cloud_is_told_of_though_it_waited_for_something_else_before(
    bench: Bench,
) -> None:
    """By this event Slurm gets the node back; later ones of the round would say nothing new."""
    causes = (HELD_ELSEWHERE, HELD_ELSEWHERE, CAUSE, CAUSE, HELD_ELSEWHERE)
    for parked, cause in enumerate(causes):
        waiting = pending(UP, DeliveryHistory(parked=parked))
        bench.publisher.parked(waiting, cause, "power.retry.5s")
    told = [event_from(parse(message.body)) for message in bench.sent("power.events")]
    assert [one.cause for one in told] == [HELD_ELSEWHERE, CAUSE]


def test_what_was_told_of_waiting_requests_is_forgotten_at_last(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rounds may end in other workers: what is kept of them must not grow for ever."""
    monkeypatch.setattr("workers.power.publisher._MOST_TOLD", 2)
    for name in ("node1", "node2", "node3", "node3", "node1"):
        waiting = pending(command(name), DeliveryHistory(parked=1))
        bench.publisher.parked(waiting, CAUSE, "power.retry.5s")
    told = [event_from(parse(message.body)) for message in bench.sent("power.events")]
    assert [one.node for one in told] == ["node1", "node2", "node3", "node1"]


def test_a_node_with_a_call_under_way_is_not_parked(bench: Bench) -> None:
    call = Calling(Act(START, "id-1"), row(UP), (UP.id, 1), 1.0)
    waiting = bench.put(node(UP, pending(UP), phase=call))
    bench.steps.take(waiting, ParkNode(CAUSE, "power.retry.30s"))
    assert bench.link.published == []
    assert bench.state.nodes == {"node1": waiting}
    assert bench.state.batch == Batch()


def test_stuck_boots_are_parked_with_their_patience_started_again(bench: Bench) -> None:
    """The first of them notes it, so that the last one is not alone; and not each again."""
    stuck = ParkNode(Cause(BOOTS_STUCK, "stuck"), "power.retry.30s", afresh=True)
    bench.steps.take(bench.put(node(UP, pending(UP))), stuck)
    assert bench.state.batch.waited == {(UP.id, 1): 0.0}
    noted = bench.driver.health.stuck_at
    assert noted == pytest.approx(time.monotonic(), abs=5.0)
    bench.steps.take(bench.put(node(UP, pending(UP))), stuck)
    assert bench.driver.health.stuck_at == noted


def test_a_parked_node_no_longer_counts_among_those_to_be_finished(bench: Bench) -> None:
    waiting = bench.put(node(UP, pending(UP)))
    bench.steps.take(waiting, Finish(Transition.FAILED, CAUSE, None))
    bench.steps.take(waiting, ParkNode(CAUSE, "power.retry.5s"))
    assert bench.state.finished == {}
    assert bench.state.batch.released == {"node1"}


# -- ends


def test_a_completed_boot_shows_that_the_cloud_boots(bench: Bench) -> None:
    done = Finish(Transition.COMPLETED, None, SERVER)
    bench.steps.take(bench.put(node(UP, pending(UP))), done)
    assert bench.driver.health.booted_at < 0.0
    booted = node(UP, pending(UP), actions={(UP.id, 1): (action(REBOOT),)})
    bench.steps.take(bench.put(booted), done)
    assert bench.driver.health.booted_at == pytest.approx(time.monotonic(), abs=5.0)


def test_a_group_without_room_rests_and_its_cause_says_so(bench: Bench) -> None:
    quota = Finish(Transition.FAILED, Cause("quota", "Quota exceeded"), None)
    bench.steps.take(bench.put(node(UP, pending(UP))), quota)
    _, finish = bench.state.finished["node1"]
    assert finish.cause is not None
    assert finish.cause.message == "Quota exceeded; group all rests for 60 s"
    bench.state.finished.clear()
    waiting = bench.put(node(UP, pending(UP)))
    bench.lists(replace(SERVER, status="SHELVED_OFFLOADED"))
    refused = bench.steps.step(waiting, time.monotonic())
    assert isinstance(refused, Finish)
    assert refused.cause is not None
    assert refused.cause.message.startswith("not tried: group all rests for ")


def test_a_stored_failure_is_published_with_its_dead_letter_and_a_completion_without(
    bench: Bench,
) -> None:
    request = pending(UP, DeliveryHistory(attempt=4))
    stored = event(Transition.FAILED, UP, cause=CAUSE).to_envelope().to_json()
    bench.publisher.ended(request, stored)
    [letter] = bench.sent("power.dlx")
    assert (letter.body, letter.headers[headers.ATTEMPT]) == (request.delivery.body, 5)
    assert [message.body for message in bench.sent("power.events")] == [stored]

    bench.link.published.clear()
    stored = event(Transition.COMPLETED, UP).to_envelope().to_json()
    bench.publisher.ended(request, stored)
    assert bench.sent("power.dlx") == []
    assert [message.body for message in bench.sent("power.events")] == [stored]


# -- calls, waits and turns


def test_a_node_that_is_to_call_takes_its_turn_and_resumes_go_first(bench: Bench) -> None:
    down = replace(DOWN, node="node2")
    bench.steps.take(bench.put(node(down, pending(down))), MakeCall(Act("os-stop", "id-2")))
    bench.steps.take(bench.put(node(UP, pending(UP))), MakeCall(Act(START, "id-1")))
    assert {n.phase for n in bench.state.nodes.values()} == {QUEUED}
    turns = [bench.driver.next_turn(time.monotonic()) for _ in range(3)]
    assert turns == ["node1", "node2", None]


def test_a_resume_of_a_node_whose_suspend_waits_for_its_turn_goes_before_other_suspends(
    bench: Bench,
) -> None:
    """A job waits for it, and nobody for the power-offs that a slow cloud still has to take."""
    others = [replace(OLD, node=f"node{number}") for number in (2, 3)]
    for asked in (*others, OLD):
        bench.steps.take(bench.put(node(asked, pending(asked))), MakeCall(Act("os-stop", "id-1")))
    waiting = bench.state.nodes["node1"]
    resumed = joined(waiting, pending(UP), row(UP), {}, {}, waiting.fresh_after)
    bench.state.put(resumed, touch=True)
    bench.lists(OFF)
    bench.steps.turn()
    turns = [bench.driver.next_turn(time.monotonic()) for _ in range(4)]
    assert turns == ["node1", "node2", "node3", "node1"]


def test_a_server_that_an_earlier_round_created_to_deploy_is_powered_off_only_if_it_has_not_registered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay comes when its node may have run jobs for days, without any call of Slurm's."""
    guards: list[Guard] = []
    monkeypatch.setattr(bench.driver, "call", lambda _call, guard: guards.append(guard))
    asked = command(kind=Kind.DEPLOY)
    replayed = pending(asked, DeliveryHistory(round=2))
    for booted in (asked.generation, asked.generation - 1):
        waiting = node(asked, replayed, row=row(asked, booted=booted))
        bench.steps.take(bench.put(waiting), MakeCall(Act(STOP, "id-1")))
        bench.steps.act()
    assert [guard.ends_deploy for guard in guards] == [True, False]


def test_only_calls_that_a_running_server_does_not_survive_ask_whether_a_job_may_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A surplus server is deleted while the other one runs."""
    guards: list[Guard] = []
    monkeypatch.setattr(bench.driver, "call", lambda _call, guard: guards.append(guard))
    broken = Act(DELETE, "id-1", CAUSE)
    for act in (Act(REBOOT, "id-1"), broken, Act(START, "id-1"), Act(DELETE, "id-2")):
        bench.steps.take(bench.put(node(UP, pending(UP))), MakeCall(act))
        bench.steps.act()
    assert [guard.replaces for guard in guards] == [True, True, False, False]


def test_a_node_that_waits_for_a_whole_listing_orders_one(bench: Bench) -> None:
    waiting = bench.put(node(UP, pending(UP)))
    bench.steps.take(waiting, WaitFor(listing=True, whole=True))
    assert bench.state.agenda.for_whole["main"]
    bench.state.agenda.listed("main", whole=True)
    assert bench.state.agenda.take(0.0) == ["node1"]


def test_a_turn_takes_the_step_of_each_touched_node_and_of_no_other(bench: Bench) -> None:
    other = command("node2")
    bench.put(node(UP, pending(UP)))
    bench.put(node(other, pending(other)))
    bench.lists(SERVER, replace(SERVER, id="id-2", name="node2"))
    bench.state.touch(["node1", "node9"])
    bench.steps.turn()
    assert list(bench.state.finished) == ["node1"]


def test_a_finished_node_is_not_decided_about_again(bench: Bench) -> None:
    waiting = bench.put(node(UP, pending(UP)))
    bench.steps.take(waiting, Finish(Transition.FAILED, CAUSE, None))
    bench.lists(SERVER)
    bench.state.touch(["node1"])
    bench.steps.turn()
    _, finish = bench.state.finished["node1"]
    assert finish.transition is Transition.FAILED


def test_slurm_is_asked_only_about_nodes_whose_boot_is_due(bench: Bench) -> None:
    waiting = bench.put(node(UP, pending(UP)))
    bench.lists(SERVER)
    bench.steps.step(waiting, time.monotonic())
    assert bench.snapshots.asked == []
    due = replace(waiting, row=row(UP, boot_from=MOMENT))
    rebooted = bench.steps.step(due, time.monotonic())
    assert rebooted == MakeCall(Act(REBOOT, "id-1"))
    bench.snapshots.shown = True
    assert isinstance(bench.steps.step(due, time.monotonic()), Finish)
    assert bench.snapshots.asked == [("node1", UP.generation)] * 2


# -- dry runs


def test_a_dry_run_notes_the_first_call_and_makes_none(bench: Bench) -> None:
    group = msgspec.structs.replace(GROUP, dry_run=True)
    waiting = bench.put(node(UP, pending(UP, dry_run=True), group=group))
    bench.lists(OFF)
    bench.steps.take(waiting, MakeCall(Act(START, "id-1")))
    ended, finish = bench.state.finished["node1"]
    assert finish == Finish(Transition.COMPLETED, None, OFF)
    [noted] = ended.actions[UP.id, 1]
    assert (noted.action, noted.server_id, noted.result) == (START, "id-1", "dry_run")
    assert not any(bench.driver.next_turn(time.monotonic()) for _ in range(2))
    assert not ended.is_booting


def test_a_dry_run_waits_for_a_fresh_listing(bench: Bench) -> None:
    group = msgspec.structs.replace(GROUP, dry_run=True)
    bench.lists()
    waiting = bench.put(node(UP, pending(UP, dry_run=True), group=group))
    bench.steps.take(waiting, MakeCall(Act(CREATE, "")))
    assert bench.state.finished == {}
    bench.lists()
    bench.state.agenda.listed("main", whole=True)
    assert bench.state.agenda.take(0.0) == ["node1"]


# -- the store goes away


def test_after_the_store_was_away_a_call_under_way_is_still_waited_for(bench: Bench) -> None:
    """Its requests are taken up again; what was decided is decided again, what was done stays."""
    call = Calling(Act(START, "id-1"), row(UP), (UP.id, 1), 1.0)
    calling = bench.put(node(UP, pending(UP), phase=call))
    other = command("node2")
    bench.put(node(other, pending(other), phase=Decided(ParkNode(CAUSE, FIRST_TIER))))
    batch = bench.state.batch
    batch.booted["node1"] = UP.generation
    batch.unsettled.add("node1")
    bench.state.finished["node2"] = (
        bench.state.nodes["node2"],
        Finish(Transition.FAILED, CAUSE, None),
    )
    batch.released.add("node3")
    bench.state.forget()
    assert bench.state.nodes == {"node1": replace(calling, requests=())}
    kept = bench.state.batch
    assert (kept.booted, kept.unsettled) == ({"node1": UP.generation}, {"node1"})
    assert (bench.state.finished, kept.waited) == ({}, {})
    # nobody else would give its lease up
    assert kept.released == {"node3"}
    assert bench.state.on_cloud("main") == [replace(calling, requests=())]


# -- answers of the cloud


@pytest.mark.parametrize(
    ("name", "answer", "late", "booted"),
    [
        (REBOOT, "id-1", False, UP.generation),
        (REBOOT, CloudError(504, "late"), True, 0),
        (REBOOT, CloudError(500, "boom"), False, 0),
        (REBOOT, CloudError(409, "not now"), False, None),
        (START, CloudError(504, "late"), True, UP.generation),
        (START, CloudError(409, "not now"), True, 0),
        (START, CloudError(409, "not now"), False, None),
        (DELETE, CloudError(504, "late"), True, None),
        (START, NotWantedError("generation 8 has come"), True, 0),
        (START, NotWantedError("generation 8 has come"), False, None),
    ],
)
def test_a_node_that_a_call_may_have_booted_may_register_though_its_boot_stays_due(
    bench: Bench, name: str, answer: str | Exception, *, late: bool, booted: int | None
) -> None:
    """Only a snapshot from after its time to register lets it be rebooted, or powered off late."""
    events = CloudEvents(bench.state, {"main": bench.driver}, 20.0, bench.publisher.metrics)
    calling = Calling(Act(name, "id-1"), row(UP), (UP.id, 1), 1.0)
    bench.put(node(UP, pending(UP), phase=calling))
    events.answered(Answered("main", Call(name, "id-1", "node1", "all"), answer, late))
    assert bench.state.batch.booted.get("node1") == booted


def test_nodes_that_wait_for_the_token_service_go_on_after_a_refused_listing(bench: Bench) -> None:
    """Nothing else would wake them: the next listing finds the token service there already."""
    events = CloudEvents(bench.state, {"main": bench.driver}, 20.0, bench.publisher.metrics)
    bench.driver.tokens_away = True
    bench.put(node(UP, pending(UP)))
    bench.steps.take(bench.state.nodes["node1"], WaitFor())
    busy = CloudError(429, "slow", retry_after=1.0)
    events.listed(Listed("main", time.monotonic(), whole=False, listing=busy))
    assert bench.state.agenda.touched == {"node1"}


@pytest.mark.parametrize(
    ("answer", "attempt"),
    [
        ("id-1", True),
        (CloudError(409, "not now"), True),
        (CloudError(429, "slow"), False),
        (CloudError(503, "slow", retry_after=1.0), False),
        (CloudError(503, "boom"), False),
    ],
)
def test_a_cloud_that_only_asks_for_a_rest_has_not_acted_for_others(
    bench: Bench, answer: str | CloudError, *, attempt: bool
) -> None:
    """An overloaded cloud says 503 to one and 429 to the other: that is no node's own fault."""
    metrics = bench.publisher.metrics
    events = CloudEvents(bench.state, {"main": bench.driver}, 20.0, metrics)
    other = command("node2", kind=Kind.RESUME)
    for asked, said in ((UP, CloudError(503, "boom")), (other, answer)):
        calling = Calling(Act(START, "id-1"), row(asked), (asked.id, 1), 1.0)
        bench.put(node(asked, pending(asked), phase=calling))
        events.answered(Answered("main", Call(START, "id-1", asked.node, "all"), said))
    bench.lists(OFF)
    step = bench.steps.step(bench.state.nodes["node1"], time.monotonic())
    assert isinstance(step, Retry if attempt else ParkNode)
