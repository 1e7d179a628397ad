"""The conditions that need an operator, and the page to go to. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import hostlist

from ops.cli.terminal import cut, moment
from ops.console.lamps import plural
from ops.console.view import SiteView
from workers.broker.topology import (
    AUDIT_QUEUE,
    FEEDBACK_QUEUE,
    RESUME_QUEUE,
    SNAPSHOT_QUEUE,
    SUSPEND_QUEUE,
    TOKEN_QUEUE,
)
from workers.store.power_state import PowerState

# The worker of each queue that every installation consumes.
_CONSUMERS = {
    RESUME_QUEUE: "power",
    SUSPEND_QUEUE: "power",
    TOKEN_QUEUE: "tokens",
    AUDIT_QUEUE: "audit",
}
# Optional workers: missing only if their queue holds messages.
_OPTIONAL_CONSUMERS = {SNAPSHOT_QUEUE: "resync", FEEDBACK_QUEUE: "slurm"}
_DAY = 86_400 * 10**9
_EXPIRY_WARNING = 14 * _DAY


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that needs an operator, and the page to go to, if any."""

    words: str
    page: str | None = None


def alerts(view: SiteView) -> list[Alert]:
    """Return the alerts, the most severe first."""
    return [
        *map(Alert, view.problems),
        *_queue_alerts(view),
        *_worker_alerts(view),
        *_snapshot_alerts(view),
        *_login_alerts(view),
        *_request_alerts(view),
    ]


def _queue_alerts(view: SiteView) -> Iterator[Alert]:
    missing = [q.name for q in view.queues or () if q.ready is None]
    if missing:
        yield Alert(f"queues are missing: run lamplighter topology apply ({', '.join(missing)})")
    idle = [q for q in view.queues or () if q.consumers == 0]
    absent = {_CONSUMERS[q.name] for q in idle if q.name in _CONSUMERS}
    absent |= {
        _OPTIONAL_CONSUMERS[q.name] for q in idle if q.ready and q.name in _OPTIONAL_CONSUMERS
    }
    if absent:
        names = ", ".join(sorted(absent))
        where = "; slurm on slurmctld's host" if "slurm" in absent else ""
        yield Alert(f"workers not running: {names}; nothing is lost (lamplighter up{where})")


def _worker_alerts(view: SiteView) -> Iterator[Alert]:
    for worker in view.workers:
        if worker.is_silent(view.taken_at):
            since = moment(worker.seen_at)[11:19]
            yield Alert(f"no heartbeat from {worker.name} since {since} UTC: killed or stuck")


def _snapshot_alerts(view: SiteView) -> Iterator[Alert]:
    if view.snapshot_stale:
        yield Alert(
            "no recent snapshot of Slurm's nodes: nothing is repaired, late suspends wait; "
            "check slurmctld, and lamplighter worker snapshot on its host"
        )


def _login_alerts(view: SiteView) -> Iterator[Alert]:
    for login in view.logins:
        if login.expires_at is None or login.expires_at - view.taken_at >= _EXPIRY_WARNING:
            continue
        days = (login.expires_at - view.taken_at) // _DAY
        when = "has expired" if days < 0 else f"expires in {plural(days, 'day')}"
        yield Alert(
            f"the refresh token for {login.cloud} {when}: lamplighter tokens login {login.cloud}"
        )


def _request_alerts(view: SiteView) -> Iterator[Alert]:
    if view.dead_letters:
        yield Alert(f"{plural(view.dead_letters, 'dead letter')} to resolve", "/dead-letters")
    if view.drift_counts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in view.drift_counts.items())
        yield Alert(f"drift from what Slurm wants: {kinds} (lamplighter drift)", "/attention")
    failed = [node.node for node in view.nodes if node.power is PowerState.FAILED]
    if failed and not view.store_away:
        names = cut(hostlist.collect_hostlist(failed))
        yield Alert(f"{plural(len(failed), 'node')} failed: {names}")
