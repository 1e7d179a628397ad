"""Handles request events and due nodes: query Slurm and the store, decide, update Slurm, remember."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from schemas.commands import Kind
from schemas.events import RequestEvent, Transition
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.config.settings import Settings
from workers.process.runtime import Runtime
from workers.slurm import node_memory
from workers.slurm.after_update import after_due, after_event, failures_before, returning_sooner
from workers.slurm.apply import apply_updates
from workers.slurm.decide import RequestedState, Situation, decide, waits_for_cloud
from workers.slurm.due import due_updates
from workers.slurm.failed_jobs import FailedJobs, unreported
from workers.slurm.job_events import JobEvents
from workers.slurm.metrics import SlurmMetrics
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import NodeState
from workers.slurm.requeued import jobs_on
from workers.slurm.scontrol import Slurm
from workers.slurm.updates import SlurmUpdate, UpdateKind, without_effect
from workers.store.database import reading

# If the worker crashes, another one repeats a due node after this time, ns.
_CLAIM = 10 * 10**9


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

    Args:
        run: the process.
        slurm: slurmctld.
        link: the connection to the broker.
        metrics: of the worker.

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
        self.jobs = FailedJobs(slurm, link, self._job_events)
        self.failed = 0

    def on_events(self, events: Sequence[tuple[Delivery, RequestEvent]]) -> None:
        """Handle events of different nodes, and acknowledge them or pass them to `jobs`."""
        names = sorted(event.node for _, event in events)
        # Slurm is queried before the store: requests that are newer than Slurm's state are seen
        only_waiting = all(waits_for_cloud(event) for _, event in events)
        states = {} if only_waiting else self._slurm.nodes()
        with reading(self._store) as connection:
            requested = node_memory.requested_states(connection, self._settings.cluster, names)
            known = node_memory.recall(connection, self._settings.cluster, names)
        handled = self._decide(events, states, requested, known)
        refused = apply_updates(self._slurm, [one.update for one in handled])
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
        states = self._slurm.nodes() if any(one.due is not Due.FORGET for one in due) else {}
        with reading(self._store) as connection:
            names = sorted(one.node for one in due)
            requested = node_memory.requested_states(connection, cluster, names)
        dry = frozenset(one.node for one in due if self._settings.is_dry(one.node))
        handled = due_updates(due, states, requested, dry)
        refused = apply_updates(self._slurm, [update for _, update in handled])
        self._count(update for _, update in handled)
        after = {m.node: after_due(m, update, self._settings.slurm, now) for m, update in handled}
        with self._store.begin() as connection:
            node_memory.remember(connection, cluster, [kept for kept in after.values() if kept])
            done = sorted(node for node, kept in after.items() if kept is None)
            node_memory.forget(connection, cluster, done)
        self.jobs.add(
            [u for _, u in handled if u.kind.fails_boot and u.jobs and u.node not in refused]
        )

    def recover(self) -> None:
        """Report the jobs that ended before a crash."""
        self.jobs.add(unreported(self._store, self._slurm, self._settings.cluster))

    def _decide(
        self,
        events: Sequence[tuple[Delivery, RequestEvent]],
        states: Mapping[str, NodeState],
        requested: Mapping[str, RequestedState],
        known: Mapping[str, NodeMemory],
    ) -> list[_Handled]:
        # ResumeFailProgram does not receive the jobs that waited for its nodes
        given_up = {event.node for _, event in events if event.kind is Kind.RESUME_FAIL}
        left = self._slurm.jobs_left_by(given_up & states.keys())
        handled = []
        for delivery, event in events:
            node = event.node
            failures = failures_before(event, known.get(node))
            situation = Situation(states.get(node), requested.get(node), failures, time.time_ns())
            update = decide(event, situation, self._hostnames)
            if self._is_dry(event):
                update = without_effect(update)
            if node in given_up:
                update = replace(update, jobs=jobs_on(node, left))
            handled.append(_Handled(delivery, event, update))
        return handled

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


def _hostnames(settings: Settings) -> Mapping[str, str] | None:
    if not settings.slurm.set_addresses:
        return None
    return {
        node: hostname.replace("$node", node)
        for node, group in settings.nodes.items()
        if (hostname := settings.groups[group].hostname) is not None
    }
