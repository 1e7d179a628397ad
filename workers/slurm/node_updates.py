"""Handles request events and due nodes: query Slurm and the store, decide, update Slurm, remember."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import sqlalchemy as sa
import structlog

from schemas.commands import Kind
from schemas.events import RequestEvent, Transition
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.config.settings import Settings
from workers.process.runtime import Runtime
from workers.slurm import node_memory
from workers.slurm.after_update import after_due, after_event, failures_before, returning_sooner
from workers.slurm.apply import AVAILABLE, apply_updates
from workers.slurm.decide import RequestedState, Situation, decide, waits_for_cloud
from workers.slurm.due import due_updates, lost_reports, never_due, not_returned
from workers.slurm.failed_jobs import FailedJobs, unreported
from workers.slurm.job_events import JobEvents
from workers.slurm.metrics import SlurmMetrics
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import NodeState
from workers.slurm.requeued import FailedBoot, jobs_on
from workers.slurm.scontrol import Slurm
from workers.slurm.updates import SlurmUpdate, UpdateKind, without_effect
from workers.store.database import reading
from workers.store.holds import all_holds

# If the worker crashes, another one repeats a due node after this time, ns.
_CLAIM = 10 * 10**9
# Slurm calls ResumeFailProgram so soon after it has ended the jobs, ns.
_CALL_DELAY = 10 * 10**9


@dataclass(frozen=True, slots=True)
class _Handled:
    delivery: Delivery
    event: RequestEvent
    update: SlurmUpdate

    @property
    def has_failed_jobs(self) -> bool:
        """Whether jobs waited for a boot that has failed."""
        failed = self.update.kind.fails_boot or self.event.kind is Kind.RESUME_FAIL
        return failed and bool(self.update.jobs)


class NodeUpdates:
    """Updates nodes in Slurm; every method may be repeated after an error.

    Attributes:
        jobs: the jobs of failed boots; the deliveries behind them are acknowledged when they are done.
        failed: how many failed boots were reported to Slurm.
    """

    def __init__(self, run: Runtime, slurm: Slurm, link: Link, metrics: SlurmMetrics) -> None:
        self._settings = run.settings
        self._store = run.store
        self._slurm = slurm
        self._link = link
        self._metrics = metrics
        self._hostnames = _hostnames(run.settings)
        self._job_events = JobEvents(
            link, slurm, run.settings.cluster, run.settings.slurm.uws_jobdata
        )
        self._log = structlog.get_logger()
        self.jobs = FailedJobs(slurm, link, self._job_events)
        self.failed = 0

    def on_events(self, events: Sequence[tuple[Delivery, RequestEvent]]) -> None:
        """Handle events of different nodes, and acknowledge them or pass them to `jobs`."""
        names = sorted(event.node for _, event in events)
        with reading(self._store) as connection:
            known = node_memory.recall(connection, self._settings.cluster, names)
        # ResumeFailProgram does not receive the jobs that waited for its nodes
        given_up = {event.node for _, event in events if event.kind is Kind.RESUME_FAIL}
        left = self._slurm.jobs_left_by(self._slurm.nodes(given_up).keys() & given_up)
        by_node = {event.node: event for _, event in events}
        lost = {n: jobs_on(n, left, self._boot(by_node[n])) for n in given_up}
        decide = partial(self._decide, by_node, known, lost)
        applied = apply_updates(self._slurm, names, decide)
        refused = applied.refused
        handled = [_Handled(d, event, applied.updates[event.node]) for d, event in events]
        self._count(one.update for one in handled)
        self._remember([h for h in handled if h.event.node not in refused], known)
        self._job_events.identify(
            job.job_id for _, event in events if event.kind is Kind.RESUME for job in event.jobs
        )
        self._job_events.report_dry_run(
            [(h.event, h.update) for h in handled if h.update.kind is UpdateKind.DRY_RUN]
        )
        failed: list[_Handled] = []
        done: list[_Handled] = []
        for one in handled:
            has_jobs = one.has_failed_jobs and one.event.node not in refused
            (failed if has_jobs else done).append(one)
        self.jobs.add([one.update for one in failed], [one.delivery for one in failed])
        self._link.ack([one.delivery for one in done])

    def on_due(self) -> None:
        """Handle the nodes whose time has come."""
        now, cluster = time.time_ns(), self._settings.cluster
        with self._store.begin() as connection:
            due = node_memory.claim(connection, cluster, now, now + _CLAIM)
        if not due:
            return
        memories = {one.node: one for one in due}
        applied = apply_updates(self._slurm, memories.keys(), partial(self._decide_due, memories))
        handled = [(memory, applied.updates[memory.node]) for memory in due]
        refused = applied.refused
        self._count(update for _, update in handled)
        after = {m.node: after_due(m, update, self._settings.slurm, now) for m, update in handled}
        with self._store.begin() as connection:
            ours = _unchanged(connection, cluster, memories)
            node_memory.remember(connection, cluster, [k for n in ours if (k := after[n])])
            node_memory.forget(connection, cluster, [n for n in ours if after[n] is None])
        self.jobs.add(
            [u for _, u in handled if u.kind.fails_boot and u.jobs and u.node not in refused]
        )

    def recover(self) -> None:
        """Report the jobs that ended before a crash."""
        self.jobs.add(unreported(self._store, self._slurm, self._settings))

    def report_lost(self) -> None:
        """Report again what slurmctld has lost.

        Nodes that are out of service with our reason although nothing is due for them return. Nodes
        that Slurm lost from view while they are powered down are made available again: nobody knows
        whether slurmctld was restarted since.
        """
        states = self._slurm.nodes()
        lost = [n for n in self._settings.nodes if n in states and states[n].unavailable]
        self._slurm.update_nodes(
            [node for node in lost if not self._settings.is_dry(node)],
            AVAILABLE,
            still_due=self._unavailable,
        )
        now, settings = time.time_ns(), self._settings
        with self._store.begin() as connection:
            known = node_memory.recall_all(connection, settings.cluster)
            late = {one.node: one for one in never_due(known.values(), settings.slurm, now)}
            found = not_returned(states, known, settings.nodes.keys(), settings.slurm, now)
            booting = [n for n in settings.nodes if n in states and states[n].booting]
            rounds = node_memory.newest_rounds(connection, settings.cluster, booting)
            ended, waiting = lost_reports(rounds, known, settings.slurm, now)
            changed = late | {one.node: one for one in (*found, *waiting)}
            node_memory.remember(connection, settings.cluster, changed.values())
        for one in found:
            wait = round((one.due_at - now) / 1e9)
            self._log.warning(
                "node_not_returned", node=one.node, reason=one.reason, returns_in=wait
            )
        self._report_again(ended, known)

    def _report_again(
        self, ended: Mapping[str, RequestEvent], known: Mapping[str, NodeMemory]
    ) -> None:
        """Report outcomes once more, as far as they still lead to an update."""
        if not ended:
            return
        decide = partial(self._decide, ended, known, {})
        applied = apply_updates(self._slurm, ended.keys(), decide)
        failed = [u for n, u in applied.updates.items() if n not in applied.refused]
        self.jobs.add([update for update in failed if update.kind.fails_boot and update.jobs])

    def _unavailable(self, names: Collection[str]) -> list[str]:
        states = self._slurm.nodes(names)
        with reading(self._store) as connection:
            held = all_holds(connection, self._settings.cluster)
        return [n for n, state in states.items() if state.unavailable and n not in held]

    def _boot(self, given_up: RequestEvent) -> FailedBoot:
        """The boot that Slurm has abandoned: requested by the node's request before this one."""
        with reading(self._store) as connection:
            requested_at = node_memory.requested_before(
                connection, self._settings.cluster, given_up.node, given_up.generation
            )
        if requested_at is None:  # the store was lost
            requested_at = given_up.generation - _CALL_DELAY
        return FailedBoot(requested_at, min(given_up.generation, time.time_ns()))

    def _read(
        self, names: Collection[str], *, slurm: bool
    ) -> tuple[Mapping[str, NodeState], Mapping[str, RequestedState]]:
        """The states in Slurm, if needed, and the requested states.

        Slurm is queried before the store: requests that are newer than Slurm's state are seen.
        """
        states = self._slurm.nodes(names) if slurm else {}
        with reading(self._store) as connection:
            requested = node_memory.requested_states(
                connection, self._settings.cluster, sorted(names)
            )
        return states, requested

    def _decide(
        self,
        events: Mapping[str, RequestEvent],
        known: Mapping[str, NodeMemory],
        left: Mapping[str, frozenset[int]],
        names: Collection[str],
    ) -> Mapping[str, SlurmUpdate]:
        """Decide about nodes by their events, what was known of them, and the jobs that they left."""
        needs_slurm = not all(waits_for_cloud(events[node]) for node in names)
        states, requested = self._read(names, slurm=needs_slurm)
        updates = {}
        for node in names:
            event = events[node]
            failures = failures_before(event, known.get(node))
            situation = Situation(states.get(node), requested.get(node), failures, time.time_ns())
            update = decide(event, situation, self._hostnames)
            if self._is_dry(event):
                update = without_effect(update)
            updates[node] = replace(update, jobs=left[node]) if node in left else update
        return updates

    def _decide_due(
        self, memories: Mapping[str, NodeMemory], names: Collection[str]
    ) -> Mapping[str, SlurmUpdate]:
        due = [memories[node] for node in names]
        needs_slurm = any(one.due is not Due.FORGET for one in due)
        states, requested = self._read(names, slurm=needs_slurm)
        with reading(self._store) as connection:
            ours = _unchanged(connection, self._settings.cluster, {m.node: m for m in due})
        dry = frozenset(node for node in names if self._settings.is_dry(node))
        return {
            memory.node: update
            if memory.node in ours
            else SlurmUpdate(UpdateKind.WAIT, memory.node, "another worker has handled it")
            for memory, update in due_updates(due, states, requested, dry)
        }

    def _remember(self, handled: Sequence[_Handled], known: Mapping[str, NodeMemory]) -> None:
        now, cluster = time.time_ns(), self._settings.cluster
        real = [one for one in handled if not self._is_dry(one.event)]
        memories = [
            after
            for h in real
            if (
                after := after_event(
                    h.event, h.update, known.get(h.event.node), self._settings.slurm, now
                )
            )
        ]
        booted = [
            h.event.node
            for h in real
            if h.event.transition is Transition.COMPLETED and h.event.address
        ]
        with self._store.begin() as connection:
            node_memory.remember(connection, cluster, memories)
            if booted:
                out = node_memory.returning(connection, cluster)
                sooner = returning_sooner(
                    out, booted, self._settings.nodes, self._settings.slurm, now
                )
                node_memory.remember(connection, cluster, sooner)

    def _is_dry(self, event: RequestEvent) -> bool:
        return event.dry_run or self._settings.is_dry(event.node)

    def _count(self, updates: Iterable[SlurmUpdate]) -> None:
        failed = sum(update.kind.fails_boot for update in updates)
        self.failed += failed
        self._metrics.nodes_failed.inc(failed)


def _unchanged(
    connection: sa.Connection, cluster: str, memories: Mapping[str, NodeMemory]
) -> list[str]:
    """The nodes of which the store still has this memory.

    Another worker handles a due node if this one was stopped for longer than its claim.
    """
    stored = node_memory.recall(connection, cluster, sorted(memories))
    return [
        node
        for node, memory in stored.items()
        if replace(memory, due_at=0) == replace(memories[node], due_at=0)
    ]


def _hostnames(settings: Settings) -> Mapping[str, str] | None:
    if not settings.slurm.set_addresses:
        return None
    return {
        node: hostname.replace("$node", node)
        for node, group in settings.nodes.items()
        if (hostname := settings.groups[group].hostname) is not None
    }
