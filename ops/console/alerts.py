"""What a person should look at, and where. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import hostlist

from ops.cli.terminal import moment
from ops.console.view import SiteView, many
from workers.broker.topology import (
    AUDIT_QUEUE,
    FEEDBACK_QUEUE,
    RESUME_QUEUE,
    SNAPSHOT_QUEUE,
    SUSPEND_QUEUE,
    TOKEN_QUEUE,
)
from workers.store.lamps import Lamp

# A queue that nobody consumes is worth a word only where somebody should.
_CONSUMED = {
    RESUME_QUEUE: "power",
    SUSPEND_QUEUE: "power",
    TOKEN_QUEUE: "tokens",
    AUDIT_QUEUE: "audit",
}
# Not every site has these: where something waits for them, it should.
_CONSUMED_WHERE_USED = {SNAPSHOT_QUEUE: "resync", FEEDBACK_QUEUE: "slurm"}
_DAY = 86_400 * 10**9
_SOON = 14 * _DAY
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Alert:
    """What a person should look at, and the page to go to, if there is one."""

    words: str
    page: str | None = None


def alerts(view: SiteView) -> list[Alert]:
    """What a person should look at, the gravest first; nothing where all is well."""
    return [
        *map(Alert, view.problems),
        *_unconsumed(view),
        *_silent(view),
        *_slurm(view),
        *_logins(view),
        *_counted(view),
    ]


def _unconsumed(view: SiteView) -> Iterator[Alert]:
    missing = [q.name for q in view.queues or () if q.ready is None]
    if missing:
        yield Alert(f"queues are missing: run lamplighter topology apply ({', '.join(missing)})")
    idle = [q for q in view.queues or () if q.consumers == 0]
    absent = {_CONSUMED[q.name] for q in idle if q.name in _CONSUMED}
    absent |= {
        _CONSUMED_WHERE_USED[q.name] for q in idle if q.ready and q.name in _CONSUMED_WHERE_USED
    }
    if absent:
        names = ", ".join(sorted(absent))
        where = "; slurm on slurmctld's host" if "slurm" in absent else ""
        yield Alert(f"missing workers: {names}; nothing is lost (lamplighter up{where})")


def _silent(view: SiteView) -> Iterator[Alert]:
    for worker in view.workers:
        if worker.is_silent(view.taken_at):
            since = moment(worker.seen_at)[11:19]
            yield Alert(f"worker {worker.name} is silent since {since} UTC: killed, or stuck")


def _slurm(view: SiteView) -> Iterator[Alert]:
    if view.stale:
        yield Alert(
            "Slurm has long shown no nodes: nothing is repaired, late suspends wait; "
            "is slurmctld up, and lamplighter worker snapshot on its host?"
        )


def _logins(view: SiteView) -> Iterator[Alert]:
    for login in view.logins:
        if login.ends is None or login.ends - view.taken_at >= _SOON:
            continue
        days = (login.ends - view.taken_at) // _DAY
        when = "has ended" if days < 0 else f"ends in {many(days, 'day')}"
        yield Alert(
            f"the refresh token for {login.cloud} {when}: lamplighter tokens login {login.cloud}"
        )


def _counted(view: SiteView) -> Iterator[Alert]:
    if view.dead_letters:
        yield Alert(f"{many(view.dead_letters, 'dead letter')} to decide on", "/dead-letters")
    if view.drifts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in view.drifts.items())
        yield Alert(f"not as Slurm wants it: {kinds} (lamplighter drift)")
    failed = [] if view.blind else [lit.node for lit in view.lamps if lit.lamp is Lamp.FAILED]
    if failed:
        names = hostlist.collect_hostlist(failed)
        names = names if len(names) <= _LONGEST else f"{names[:_LONGEST]}..."
        yield Alert(f"{many(len(failed), 'node')} not as wanted: {names}")
