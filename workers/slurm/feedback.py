"""The slurm worker: hears what became of boots, and says it to slurmctld."""

import queue
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import RequestEvent, Transition, event_from
from workers.broker.link import Delivery, Link
from workers.errors import BrokerError
from workers.process.runtime import Runtime
from workers.slurm import node_memory
from workers.slurm.after_update import after_event, failures_before, hastened
from workers.slurm.apply import tell
from workers.slurm.decide import (
    Situation,
    SlurmUpdate,
    UpdateKind,
    decide,
    rehearsed,
    waits_for_cloud,
)
from workers.slurm.failed_jobs import FailedJobs
from workers.slurm.job_events import JobEvents
from workers.slurm.metrics import SlurmMetrics
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.policy import policy_of
from workers.slurm.recovery import left_behind
from workers.slurm.requeued import on_node
from workers.slurm.scontrol import Slurm, SlurmAwayError
from workers.slurm.timers import after_due, due_actions
from workers.store.database import AWAY, reading

BATCH = 500
BATCH_SECONDS = 0.05
_IDLE = 0.5
_JOBS_IDLE = 0.25
_TIMERS = 1.0
_CLAIM = 10 * 10**9
_LONGEST_WAIT = 10.0


class Feedback:
    """Batches of events, each told to Slurm, remembered, then acknowledged.

    A delivery whose jobs are still to be let go stays ours until they are: whoever goes on after a
    crash finds the node told, and the jobs still waiting. While slurmctld or the store is away,
    nothing is acknowledged.

    Args:
        run: the process.
        slurm: slurmctld.
        link: gives deliveries (to `deliver`) and takes acknowledgements.
        herald: tells of jobs.
    """

    def __init__(self, run: Runtime, slurm: Slurm, link: Link, herald: JobEvents) -> None:
        self._run = run
        self._slurm = slurm
        self._link = link
        self._settings = run.settings
        self._policy = policy_of(run.settings)
        self._waiting: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._jobs = FailedJobs(slurm, link, herald)
        self._herald = herald
        self._next_timers = 0.0
        self._told = 0
        self._looked_back = False
        self._figures = SlurmMetrics(run.registry)
        self._log = structlog.get_logger()

    # -- called by the link's thread

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery in."""
        self._waiting.put(delivery)

    def connected(self, _connection: int) -> None:
        """The broker delivers again what was not acknowledged."""
        self._waiting = queue.SimpleQueue()

    # -- the loop

    def turn(self) -> None:
        """Wait for something to happen, and see to it; returns early when told to stop."""
        batch = self._batch()
        if batch:
            self._hear(batch)
        if self._jobs:
            self._persist(self._jobs.see_to)
        if not self._looked_back:
            self._persist(self._look_back)
        if time.monotonic() >= self._next_timers:
            self._persist(self._see_to_timers)
            self._next_timers = time.monotonic() + _TIMERS
        self._run.state = self._describe()

    def _persist(self, step: Callable[[], None]) -> None:
        """Repeat a step until neither slurmctld nor the store is away; each may be repeated."""
        wait = 0.2
        while True:
            try:
                step()
            except SlurmAwayError as error:
                self._run.state = "waits for slurmctld"
                self._figures.away()
                self._log.warning("slurmctld_away", error=str(error))
            except BrokerError as error:
                self._log.warning("job_untold", error=str(error))
                if not self._link.is_up:
                    return  # what it was for is delivered again; what Slurm is to hear goes on
            except AWAY as error:
                self._run.state = "waits for the store"
                self._log.warning("store_away", error=type(error).__name__)
            else:
                return
            if self._run.stop.wait(random.uniform(wait / 2, wait)):  # noqa: S311 - jitter
                return
            wait = min(wait * 2, _LONGEST_WAIT)

    def _batch(self) -> list[Delivery]:
        """What came within BATCH_SECONDS of the first, at most BATCH."""
        waiting = self._waiting
        try:
            batch = [waiting.get(timeout=_JOBS_IDLE if self._jobs else _IDLE)]
        except queue.Empty:
            return []
        until = time.monotonic() + BATCH_SECONDS
        while len(batch) < BATCH and waiting is self._waiting:
            try:
                batch.append(waiting.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return batch

    # -- events

    def _hear(self, batch: Sequence[Delivery]) -> None:
        events = [(d, told) for d in batch if (told := self._read(d)) is not None]
        heard = {id(delivery) for delivery, _ in events}
        self._link.ack([delivery for delivery in batch if id(delivery) not in heard])
        while events and not self._run.stop.is_set():
            # of several events of one node, the later ones meet Slurm as the first has left it
            first = {told.node: (delivery, told) for delivery, told in reversed(events)}
            wave = list(first.values())
            self._persist(lambda wave=wave: self._see_to(wave))  # type: ignore[misc]
            done = {id(delivery) for delivery, _ in wave}
            events = [pair for pair in events if id(pair[0]) not in done]

    def _read(self, delivery: Delivery) -> RequestEvent | None:
        """The event, or None where Slurm has nothing to hear; the audit keeps what is unreadable."""
        try:
            told = event_from(parse(delivery.body))
        except MalformedMessageError as error:
            self._log.error("message_rejected", queue=delivery.queue, field=error.field)
            return None
        return told if told.cluster == self._settings.cluster else None

    def _see_to(self, events: Sequence[tuple[Delivery, RequestEvent]]) -> None:
        """See to at most one event a node."""
        names = sorted(told.node for _, told in events)
        speaks = any(not waits_for_cloud(told) for _, told in events)
        # Slurm is asked first: what is stamped after this reading is newer than what it shows
        states = self._slurm.nodes() if speaks else {}
        cluster = self._settings.cluster
        with reading(self._run.store) as connection:
            newest = node_memory.newest(connection, cluster, names)
            known = node_memory.recall(connection, cluster, names)
        # ResumeFailProgram is not told who waited
        given_up = {told.node for _, told in events if told.kind is Kind.RESUME_FAIL}
        found = self._slurm.jobs_left_by(given_up & states.keys())
        left = {node: on_node(node, found) for node in given_up}
        acted: list[tuple[Delivery, RequestEvent, SlurmUpdate]] = []
        for delivery, told in events:
            node = told.node
            failures = failures_before(told, known.get(node))
            seen = Situation(states.get(node), newest.get(node), failures, time.time_ns())
            action = decide(told, seen, self._policy)
            if self._is_dry(told):
                action = rehearsed(action)
            if node in left:
                action = replace(action, jobs=left[node])
            acted.append((delivery, told, action))
        refused = tell(self._slurm, [action for _, _, action in acted])
        self._count(sum(action.step.fails for _, _, action in acted))
        self._remember(acted, known, refused)
        self._herald.identify(
            job.job_id for _, told, _ in acted if told.kind is Kind.RESUME for job in told.jobs
        )
        self._herald.rehearse([(told, a) for _, told, a in acted if a.step is UpdateKind.DRY])
        failed = [
            (d, a)
            for d, told, a in acted
            if a.jobs and a.node not in refused and (a.step.fails or told.kind is Kind.RESUME_FAIL)
        ]
        if failed:
            self._jobs.wait_for([a for _, a in failed], [d for d, _ in failed])
        held = {id(delivery) for delivery, _ in failed}
        self._link.ack([delivery for delivery, _ in events if id(delivery) not in held])

    def _remember(
        self,
        acted: Sequence[tuple[Delivery, RequestEvent, SlurmUpdate]],
        known: Mapping[str, NodeMemory],
        refused: frozenset[str],
    ) -> None:
        now, cluster = time.time_ns(), self._settings.cluster
        acted = [each for each in acted if not self._is_dry(each[1])]
        memories = [
            after
            for _, told, action in acted
            if told.node not in refused
            and (after := after_event(told, action, known.get(told.node), self._policy, now))
        ]
        lit = [t.node for _, t, _ in acted if t.transition is Transition.COMPLETED and t.address]
        with self._run.store.begin() as connection:
            node_memory.remember(connection, cluster, memories)
            if lit:
                out = node_memory.returning(connection, cluster)
                sooner = hastened(out, lit, self._settings.nodes, self._policy, now)
                node_memory.remember(connection, cluster, sooner)

    def _is_dry(self, told: RequestEvent) -> bool:
        return told.dry_run or self._settings.is_dry(told.node)

    # -- timers

    def _see_to_timers(self) -> None:
        now, cluster = time.time_ns(), self._settings.cluster
        with self._run.store.begin() as connection:
            due = node_memory.claim(connection, cluster, now, now + _CLAIM)
        if not due:
            return
        speaks = any(entry.due is not Due.FORGET for entry in due)
        states = self._slurm.nodes() if speaks else {}
        with reading(self._run.store) as connection:
            newest = node_memory.newest(connection, cluster, sorted(entry.node for entry in due))
        dry = frozenset(entry.node for entry in due if self._settings.is_dry(entry.node))
        acted = due_actions(due, states, newest, dry)
        refused = tell(self._slurm, [action for _, action in acted])
        self._count(sum(action.step.fails for _, action in acted))
        after = {entry.node: after_due(entry, a, self._policy, now) for entry, a in acted}
        with self._run.store.begin() as connection:
            node_memory.remember(connection, cluster, [kept for kept in after.values() if kept])
            gone = sorted(node for node, kept in after.items() if kept is None)
            node_memory.forget(connection, cluster, gone)
        given_back = [a for _, a in acted if a.step.fails and a.jobs and a.node not in refused]
        if given_back:
            self._jobs.wait_for(given_back)

    def _look_back(self) -> None:
        actions = left_behind(self._run.store, self._slurm, self._settings.cluster)
        if actions:
            self._jobs.wait_for(actions)
        self._looked_back = True

    def _count(self, failed: int) -> None:
        self._told += failed
        self._figures.told(failed)

    def _describe(self) -> str:
        if not self._link.is_up:
            return "waits for the broker"
        return f"{self._told} failed boots told"
