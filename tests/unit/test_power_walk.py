"""Hypothesis drives the power worker's pure functions over one node and a cloud that misbehaves.

The walk is `admit`'s next part: each step is `next_step` (with `decide` inside), and each answer goes
through `learn_answer`, as in the engine. Requests come at any time; answers are lost, late or wrong, the
worker is killed, and a call that nobody hears of takes effect at once, later, or never; accepted work
ends in ERROR, falls back or never ends, deletions too; servers die and start by themselves; listings of
changes show none. As in a store, a resume notes that slurmctld waits for a boot: each ends in one,
whatever ran before. What took effect has its time before its round fails.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from schemas.commands import Desired, Kind
from schemas.events import Transition
from schemas.server import Server
from tests.testbed.deliveries import pending
from tests.testbed.messages import MOMENT, command
from tests.testbed.pending_nodes import ACCEPTED, CLUSTER, GROUP, TEMPLATE, node, row
from workers.clouds.actions import CREATE, DELETE, REBOOT, SHELVE, START, STOP, UNSHELVE
from workers.clouds.errors import CloudError, classify, may_take_effect
from workers.clouds.health import Health
from workers.clouds.servers import ServerView
from workers.power.next_step import CloudSituation, learn_answer, next_step
from workers.power.node import LOOKING, Calling, PendingNode, joined
from workers.power.steps import Finish, MakeCall, ParkNode, Retry, WaitFor

if TYPE_CHECKING:
    from workers.clouds.decide import Act
    from workers.power.steps import Step

API_TIMEOUT, TAKES = 4.0, 2.0
# A call whose answer was lost takes effect so much later, at the latest.
LATE = 3.0
# Over all examples of the long walk.
MANY_STEPS = 200_000
# Where each action may begin, its task, and where it ends.
WORK = {
    START: ({"SHUTOFF"}, "powering-on", "ACTIVE"),
    STOP: ({"ACTIVE", "ERROR"}, "powering-off", "SHUTOFF"),
    SHELVE: ({"ACTIVE", "SHUTOFF"}, "shelving", "SHELVED_OFFLOADED"),
    UNSHELVE: ({"SHELVED_OFFLOADED"}, "unshelving", "ACTIVE"),
    DELETE: (
        {"ACTIVE", "SHUTOFF", "ERROR", "BUILD", "SHELVED_OFFLOADED"},
        "deleting",
        "DELETED",
    ),
    REBOOT: ({"ACTIVE", "SHUTOFF", "ERROR"}, "rebooting_hard", "ACTIVE"),
}
OFF = {"stop": {"SHUTOFF"}, "shelve": {"SHUTOFF", "SHELVED_OFFLOADED"}, "delete": set[str]()}
ANSWERS: tuple[CloudError | None, ...] = (
    *(None, None, None, None),
    *(CloudError(status, "no") for status in (409, 429, 500, 503)),
)
# The answer is lost; the call took effect, or did not.
LOST = CloudError(None, "reset by peer")
PERFORMED = ("at once", "later", "never")
FATES = ("well", "well", "well", "ERROR", "back", "never")
# What a call that took effect has, before its round fails by the time that it takes.
PATIENCE = {"boot_timeout": 12.0, "stop_timeout": 14.0}
GROUPS = [
    msgspec.structs.replace(GROUP, strategy=strategy, server=TEMPLATE, **PATIENCE)
    for strategy in ("stop", "shelve", "delete")
]


@dataclass
class Work:
    """What a server is about to become; None: nobody knows when."""

    status: str
    at: float | None


class Walk(RuleBasedStateMachine):
    """One node, its cloud, and a clock."""

    steps: ClassVar[int] = 0

    @initialize(group=st.sampled_from(GROUPS), kind=st.sampled_from([Kind.RESUME, Kind.SUSPEND]))
    def begin(self, group: object, kind: Kind) -> None:
        assert isinstance(group, type(GROUP))
        self.group, self.now, self.generation = group, ACCEPTED, MOMENT
        self.servers: dict[str, Server] = {}
        self.work: dict[str, Work] = {}
        self.created = 0
        if group.strategy != "delete":
            self.servers["id-0"] = self._server("id-0", "SHUTOFF")
        self.view = ServerView(CLUSTER)
        self.health = Health()
        self.answer: CloudError | None = None
        self.lost: str | None = None
        self.late: list[tuple[float, Act]] = []
        self.blind = False
        self.booted = self.boot_from = 0
        self.unsettled = self.performed_at = 0.0
        self.fate = "well"
        self.faults = 0
        self.node: PendingNode | None = None
        self.request(kind)

    # -- what may happen

    @rule(kind=st.sampled_from([Kind.RESUME, Kind.SUSPEND]))
    def request(self, kind: Kind) -> None:
        """A newer request comes; or the first one after an end."""
        self.generation += 10**9
        asked = command(kind=kind, generation=self.generation)
        was = self.node.row if self.node else None
        under_way = was is not None and was.desired is Desired.UP and self.boot_from
        if kind is Kind.RESUME and not under_way:
            self.boot_from = self.generation
        raised = row(
            asked,
            was.server_id if was else None,
            booted=self.booted,
            boot_from=self.boot_from,
            unsettled_left=max(0.0, self.unsettled - self.now),
        )
        if self.node is None:
            fresh = node(asked, group=self.group, row=raised, patient_since=self.now)
            self.node = joined(fresh, pending(asked), raised, {}, {}, self.now)
        else:
            self.node = joined(self.node, pending(asked), raised, {}, {}, self.now)

    @rule(answer=st.sampled_from(ANSWERS), fate=st.sampled_from(FATES))
    def cloud_changes(self, answer: CloudError | None, fate: str) -> None:
        """From now on, calls are answered so, and accepted work ends so."""
        self.answer, self.fate, self.lost = answer, fate, None
        self.faults += answer is not None or fate != "well"

    @rule(performed=st.sampled_from(PERFORMED))
    def answers_are_lost(self, performed: str) -> None:
        self.answer, self.lost = LOST, performed
        self.faults += 1

    @rule(blind=st.booleans())
    def listings_of_changes_show_none(self, blind: bool) -> None:  # noqa: FBT001 - a rule's argument
        self.blind = blind
        self.faults += 1

    @rule(performed=st.sampled_from(PERFORMED))
    def worker_is_killed(self, performed: str) -> None:
        """Perhaps during the round's first call, which nobody hears of; another worker goes on with it.

        After a call that was answered, patience goes on: it must not begin again with each worker.
        """
        if self.node is None:
            return
        self.faults += 1
        taken = self._next()
        if isinstance(taken, MakeCall) and not self.node.made:
            self._take_effect(taken.act, performed)
        self.unsettled = self.now + API_TIMEOUT
        self._rest(0.0)

    @rule(on=st.booleans())
    def server_changes_by_itself(self, on: bool) -> None:  # noqa: FBT001 - a rule's argument
        for server_id, server in list(self.servers.items())[:1]:
            self.work.pop(server_id, None)
            self.servers[server_id] = replace(
                server, status="ACTIVE" if on else "SHUTOFF", task=None
            )
            self.faults += 1

    @rule(seconds=st.sampled_from([0.1, 1.0, 9.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._settle()

    @rule(count=st.integers(1, 30))
    def worker_works(self, count: int) -> None:
        for _ in range(count):
            self._step()

    @rule(seed=st.integers(0, 2**32))
    def much_happens(self, seed: int) -> None:
        """Many of the above; in each round there is time for an end."""
        chance = random.Random(seed)  # noqa: S311 - no secret
        for _ in range(40):
            match chance.randrange(7):
                case 0:
                    self.cloud_changes(chance.choice(ANSWERS), chance.choice(FATES))
                case 1:
                    self.answers_are_lost(chance.choice(PERFORMED))
                case 2:
                    self.server_changes_by_itself(on=chance.random() < 0.5)
                case 3:
                    self.time_passes(chance.choice([0.1, 1.0, 9.0]))
                case 4:
                    self.listings_of_changes_show_none(chance.random() < 0.5)
                case 5:
                    self.worker_is_killed(chance.choice(PERFORMED))
                case _:
                    self.cloud_changes(None, "well")
            if self.node is None or chance.random() < 0.2:
                self.request(chance.choice([Kind.RESUME, Kind.SUSPEND]))
            self.worker_works(10)

    def teardown(self) -> None:
        """Once the cloud is well, the newest request ends, with the node as it wants it."""
        if not hasattr(self, "group"):
            return
        self.answer, self.lost, self.fate, self.blind = None, None, "well", False
        for server_id, work in self.work.items():
            if work.at is None and work.status != "DELETED":  # an administrator resets it
                status = {"BUILD": "ERROR"}.get(self.servers[server_id].status)
                known = self.servers[server_id]
                self.servers[server_id] = replace(known, status=status or known.status, task=None)
        lasting = {k: w for k, w in self.work.items() if w.at is not None or w.status == "DELETED"}
        self.work = lasting
        self.now += 60.0
        self._settle()
        want = Kind.RESUME if self.generation // 10**9 % 2 else Kind.SUSPEND
        self.node = None
        self.request(want)
        ended = next((e for e in (self._step() for _ in range(500)) if e is not None), None)
        assert ended is not None, "no end after 500 steps"
        assert ended.transition is Transition.COMPLETED, ended
        running = [server for server in self.servers.values() if server.status == "ACTIVE"]
        assert len(running) == (want is Kind.RESUME), self.servers

    # -- the worker

    def _next(self) -> Step:
        assert self.node is not None
        seen = CloudSituation(
            self.view,
            self.health,
            tokens_away=False,
            oldest=self.now - 2.0,
            peers=lambda: [self.node] if self.node else [],
        )
        return next_step(self.node, seen, None, registered=False, now=self.now)

    def _step(self) -> Finish | None:
        if self.node is None:
            return None
        type(self).steps += 1
        taken = self._next()
        match taken:
            case WaitFor(until=until, listing=listing, whole=whole):
                assert listing or until is not None
                self.now = max(self.now, until or 0.0) + 0.5
                self._settle()
                seen_all = whole or not self.blind
                listed = tuple(self.servers.values()) if seen_all else ()
                self.view.fold(listed, self.now, whole=seen_all)
            case MakeCall(act):
                self._call(act)
            case Finish(transition=transition, cause=cause):
                if transition is Transition.COMPLETED:
                    self._is_as_wanted()
                else:
                    assert self.faults, f"{cause} in a cloud without a fault"
                    has_time = self.view.whole_as_of - self.performed_at
                    assert cause is None or has_time > PATIENCE.get(cause.error, 0.0) - LATE
                self.node = None
                return taken
            case Retry() | ParkNode():
                assert self.faults
                self._rest()
        return None

    def _is_as_wanted(self) -> None:
        """By the listing on which it ends, the node is as the newest request wants it."""
        assert self.node is not None
        assert self.view.as_of > self.node.fresh_after
        statuses = {s.status for s in self.view.servers if s.task is None}
        if self.node.row.desired is Desired.UP:
            assert statuses == {"ACTIVE"}
            assert self.node.row.booted >= self.boot_from, "slurmctld still waits for a boot"
            self.boot_from = 0
        else:
            assert statuses <= OFF[self.group.strategy]

    def _rest(self, seconds: float = 5.0) -> None:
        """A stay in a retry tier: the request comes back as it was, perhaps to another worker."""
        assert self.node is not None
        [*_, request] = self.node.requests
        waited = {self.node.key: self.now - self.node.patient_since + seconds}
        self.now += seconds
        self._settle()
        taken = replace(self.node.row, unsettled_left=max(0.0, self.unsettled - self.now))
        fresh = replace(
            self.node, requests=(), actions={}, phase=LOOKING, called=False, conflicts=0
        )
        self.node = joined(fresh, request, taken, self.node.actions, waited, self.now)

    def _call(self, act: Act) -> None:
        assert self.node is not None
        # a server is deleted only to power the node off, because it is broken, or as a second one
        if self.node.row.desired is Desired.UP:
            assert act.action not in {STOP, SHELVE}
            assert act.action != DELETE or act.because is not None or len(self.view.servers) > 1
        call = Calling(act, self.node.row, self.node.key, self.now)
        self.now += 0.1
        answer: str | CloudError = self.answer or act.server_id or f"id-{self.created + 1}"
        refused = self._take_effect(act, self.lost or ("never" if self.answer else "at once"))
        if self.answer is None and refused is not None:
            answer = refused
        if self.lost:
            self.unsettled = self.now + API_TIMEOUT
        verdict = classify(answer) if isinstance(answer, CloudError) else None
        self.node = learn_answer(
            self.node,
            call,
            answer,
            verdict,
            now=self.now,
            time_ns=self.generation,
            settles=API_TIMEOUT if may_take_effect(answer, 1) else 0.0,
        )
        self.booted = max(self.booted, self.node.row.booted)

    # -- the cloud

    @staticmethod
    def _server(server_id: str, status: str, task: str | None = None) -> Server:
        return Server(server_id, "node1", status, task, cluster=CLUSTER, node="node1")

    def _take_effect(self, act: Act, performed: str) -> CloudError | None:
        if performed == "later":
            self.late.append((self.now + LATE, act))
        return self._perform(act) if performed == "at once" else None

    def _perform(self, act: Act) -> CloudError | None:
        if act.action == CREATE:
            self.created += 1
            server_id = f"id-{self.created}"
            self.servers[server_id] = self._server(server_id, "BUILD", "spawning")
            self._begin(server_id, "ACTIVE", back="ERROR")
            return None
        server = self.servers.get(act.server_id)
        if server is None:
            return CloudError(404, "gone")
        begins, task, ends = WORK[act.action]
        busy = server.task is not None and act.action != DELETE
        if server.status not in begins or busy:
            return CloudError(409, f"while it is {server.status}")
        self.servers[server.id] = replace(server, task=task)
        self._begin(server.id, ends, back=server.status)
        return None

    def _begin(self, server_id: str, ends: str, *, back: str) -> None:
        self.performed_at = self.now
        status = {"well": ends, "ERROR": "ERROR", "back": back, "never": ends}[self.fate]
        self.work[server_id] = Work(status, None if self.fate == "never" else self.now + TAKES)

    def _settle(self) -> None:
        for act in [act for at, act in self.late if at <= self.now]:
            self._perform(act)
        self.late = [(at, act) for at, act in self.late if at > self.now]
        for server_id, work in list(self.work.items()):
            if work.at is not None and work.at <= self.now:
                server = self.servers[server_id]
                self.servers[server_id] = replace(server, status=work.status, task=None)
                del self.work[server_id]
                if work.status == "DELETED":
                    del self.servers[server_id]


class Short(Walk):
    """The same, in as many examples as the profile says."""


TestWalk = Short.TestCase
TestWalk.settings = settings(stateful_step_count=40, deadline=None)


@pytest.mark.slow
def test_no_promise_is_broken_in_200_000_steps() -> None:
    run_state_machine_as_test(
        Walk, settings=settings(stateful_step_count=40, deadline=None, max_examples=300)
    )
    assert Walk.steps >= MANY_STEPS
