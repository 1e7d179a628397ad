"""The conditions that need an operator, and the page to go to. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import hostlist

from ops.cli.terminal import cut, moment
from ops.console.lamps import plural
from ops.console.view import SiteView
from workers.broker.health import queue_problems
from workers.store.power_state import PowerState

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
        *map(Alert, queue_problems(view.queues or ())),
        *_worker_alerts(view),
        *_snapshot_alerts(view),
        *map(Alert, view.slurm_conf),
        *_login_alerts(view),
        *_request_alerts(view),
    ]


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
        yield Alert(f"drift from what Slurm wants: {kinds} (lamplighter drift)")
    failed = [node.node for node in view.nodes if node.power is PowerState.FAILED]
    if failed and not view.store_away:
        names = cut(hostlist.collect_hostlist(failed))
        yield Alert(f"{plural(len(failed), 'node')} failed: {names}")
