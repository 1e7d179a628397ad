"""What is wrong with the installation, each with its remedy, and the line that sums it up. Pure.

Each function looks at one part and returns its findings; `lamplighter status` and the console show all
of them. A further part needs a further function, and nothing else.
"""

import enum
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import hostlist

from ops.cli.terminal import cut, duration_of, moment, plural
from ops.site.kinds import Kind
from ops.site.spooled import SpoolStatus
from producers.broker_settings import BrokerSettings
from producers.spool import UNREADABLE
from workers.broker.depths import QueueDepth
from workers.broker.health import full_queues, missing_workers
from workers.broker.roles import may_consume
from workers.broker.topology import DEAD_LETTER_QUEUE, NOTIFY_QUEUE
from workers.resync.slurm_conf import ConfDifference
from workers.store.heartbeats import Heartbeat

# It creates what is missing, and changes nothing that exists.
APPLY_TOPOLOGY = ("lamplighter", "topology", "apply")
# No site has a notify worker without a webhook: the target does not start one.
START_NOTIFY = (
    "systemctl enable --now lamplighter-notify, or without systemd lamplighter worker notify"
)
_DAY = 86_400 * 10**9
_EXPIRY_WARNING = 14 * _DAY
# A drift that lasts longer was not repaired.
DRIFT_LASTS = 600 * 10**9
# A call that has waited for longer, in seconds, was not sent by a relay that works.
_LONG_SPOOLED = 60.0
# What to look at when a worker of this role lacks something.
_REMEDIES = {
    "slurm": "check slurmctld on its host, and look at its log",
    "snapshot": "check slurmctld and hooks.state on its host, and look at its log",
    "resync": "check slurmctld, and lamplighter worker snapshot on its host",
    "notify": "check the receiver of the webhook, and look at its log",
    "tokens": "look at its log, or run lamplighter tokens login CLOUD",
}


class Severity(enum.IntEnum):
    """How bad a finding is; the value is the exit code of a command that has it.

    AWAY: a part does not answer, so that other findings may be missing.
    WRONG: an operator must act.
    NOTE: nothing is wrong.
    """

    AWAY = 3
    WRONG = 1
    NOTE = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that an operator should know.

    Attributes:
        kind: what kind of condition it is, and with it why it matters.
        words: what is the case.
        remedy: what to do; None only in a note after which nothing is to be done.
        fix: a command that is the remedy and can do no harm: `doctor --fix` runs it. After
            `lamplighter` come the words of one of our commands.
    """

    severity: Severity
    kind: Kind
    words: str
    remedy: str | None
    fix: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The words and the remedy."""
        return f"{self.words}; {self.remedy}" if self.remedy else self.words

    def as_json(self) -> dict[str, object]:
        """A JSON object."""
        return {
            "severity": self.severity.name.lower(),
            "finding": self.kind.value,
            "words": self.words,
            "why": self.kind.why,
            "remedy": self.remedy,
            "fixable": bool(self.fix),
        }


def wrong(kind: Kind, words: str, remedy: str) -> Finding:
    """A finding about which an operator must do something."""
    return Finding(Severity.WRONG, kind, words, remedy)


def fixable(kind: Kind, words: str, *command: str | Path) -> Finding:
    """A finding that a command ends: it creates a folder, or takes rights away."""
    fix = tuple(map(str, command))
    return Finding(Severity.WRONG, kind, words, shlex.join(fix), fix)


def away(kind: Kind, words: str, remedy: str) -> Finding:
    """A part that does not answer."""
    return Finding(Severity.AWAY, kind, words, remedy)


def note(kind: Kind, words: str, remedy: str | None) -> Finding:
    """A finding after which nothing must be done."""
    return Finding(Severity.NOTE, kind, words, remedy)


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, the most severe first."""
    return sorted(findings, key=lambda finding: -finding.severity)


def exit_code(findings: Sequence[Finding]) -> int:
    """The exit code of the most severe finding."""
    return max((int(finding.severity) for finding in findings), default=0)


def summary(findings: Sequence[Finding]) -> str:
    """One line: all is well, or what is wrong first."""
    bad = [one for one in ordered(findings) if one.severity is not Severity.NOTE]
    if not bad:
        return "all is well"
    more = f" (and {len(bad) - 1} more, above)" if len(bad) > 1 else ""
    return f"WRONG: {bad[0].text}{more}"


def unavailable(problems: Sequence[str]) -> Iterator[Finding]:
    """Parts that do not answer, and why."""
    remedy = "lamplighter doctor looks closer"
    return (away(Kind.UNAVAILABLE, problem, remedy) for problem in problems)


def of_queues(queues: Sequence[QueueDepth]) -> Iterator[Finding]:
    """Missing queues, queues that no worker consumes, events that nobody reads, and dead letters."""
    missing = [queue.name for queue in queues if queue.ready is None]
    if missing:
        words = f"queues are missing: {', '.join(missing)}"
        remedy = f"run {shlex.join(APPLY_TOPOLOGY)}"
        yield Finding(Severity.WRONG, Kind.QUEUES_MISSING, words, remedy, APPLY_TOPOLOGY)
    if full := full_queues(queues):
        words = f"queues are full and refuse messages: {', '.join(full)}"
        yield wrong(Kind.QUEUES_FULL, words, "start their workers")
    if absent := missing_workers(queues):
        where = ", and slurm on slurmctld's host" if "slurm" in absent else ""
        yield wrong(
            Kind.WORKERS_MISSING,
            f"workers not running: {', '.join(absent)}; nothing is lost",
            f"systemctl start lamplighter.target, or without systemd lamplighter up{where}",
        )
    by_name = {queue.name: queue for queue in queues}
    events = by_name.get(NOTIFY_QUEUE)
    if events and events.ready and not events.consumers:
        # a former webhook's bindings stay: another host may still have it
        yield wrong(
            Kind.NOTIFY_UNREAD,
            f"{plural(events.ready, 'event')} for webhooks that nobody reads",
            f"{START_NOTIFY}; if no webhook is left: rabbitmqctl delete_queue "
            f"{NOTIFY_QUEUE}, and {shlex.join(APPLY_TOPOLOGY)}",
        )
    letters = by_name[DEAD_LETTER_QUEUE].ready if DEAD_LETTER_QUEUE in by_name else None
    if letters:
        words = f"{plural(letters, 'dead letter')} to resolve"
        yield wrong(Kind.DEAD_LETTERS, words, "see lamplighter dead-letters list")


def of_workers(workers: Sequence[Heartbeat], now: int) -> Iterator[Finding]:
    """Workers whose heartbeat is overdue, and workers that lack something that they need."""
    for worker in workers:
        if worker.is_silent(now):
            since = moment(worker.seen_at)[11:19]
            words = f"no heartbeat from {worker.name} since {since} UTC: killed or stuck"
            yield wrong(Kind.WORKER_SILENT, words, "look at its log, and restart it")
        elif worker.has_problem:
            words = f"{worker.name}: {worker.state}"
            remedy = _REMEDIES.get(worker.role, "look at its log")
            yield wrong(Kind.WORKER_PROBLEM, words, remedy)


def of_other_clusters(clusters: Sequence[str]) -> Iterator[Finding]:
    """Clusters whose workers use the same store."""
    if clusters:
        words = f"store.url: the workers of cluster {', '.join(clusters)} use this database, too"
        remedy = "name another database in store.url and audit_url of one of them"
        yield wrong(Kind.STORE_SHARED, words, remedy)


def of_spools(spools: Sequence[SpoolStatus]) -> Iterator[Finding]:
    """Calls that wait on this host for the broker, and files among them that no hook wrote."""
    for one in spools:
        if one.problem is not None:
            words = f"the calls that wait on this host are not known: {one.problem}"
            remedy = "run this as root, or as the user that runs the hooks"
            yield note(Kind.SPOOL_UNKNOWN, words, remedy)
        if one.calls:
            late = one.oldest_seconds > _LONG_SPOOLED
            words = (
                f"{one.calls} call{'s wait' if one.calls > 1 else ' waits'} in {one.folder} for the "
                f"broker, the oldest for {duration_of(one.oldest_seconds)}"
            )
            relay = (
                "start lamplighter-relay on this host (without systemd: lamplighter relay); lamplighter relay "
                "--once says what is wrong"
            )
            yield (wrong if late else note)(Kind.SPOOL, words, one.sender or relay)
        if one.set_aside:
            files = f"{plural(one.set_aside, 'file')} that no hook wrote"
            remedy = "read them, call the hook again for each request in them, and delete them"
            words = f"{files}: {one.folder}/*{UNREADABLE}"
            yield wrong(Kind.SPOOL_UNREADABLE, words, remedy)


def of_snapshot(*, stale: bool) -> Iterator[Finding]:
    """A view of Slurm that is too old."""
    if stale:
        yield wrong(
            Kind.SNAPSHOT_STALE,
            "no recent snapshot of Slurm's nodes: nothing is repaired, late suspends wait",
            "check slurmctld, and lamplighter worker snapshot on its host",
        )


def of_logins(ends: Mapping[str, int], now: int) -> Iterator[Finding]:
    """Refresh tokens that expire soon; their ends by cloud, ns since the epoch."""
    for cloud, end in ends.items():
        if end - now >= _EXPIRY_WARNING:
            continue
        days = (end - now) // _DAY
        when = f"expires in {plural(days, 'day')}" if days >= 0 else "has expired"
        remedy = f"run lamplighter tokens login {cloud}"
        yield wrong(Kind.LOGIN_ENDS, f"the refresh token for {cloud} {when}", remedy)


def of_drifts(counts: Mapping[str, int], longest: int) -> Iterator[Finding]:
    """Differences from what Slurm wants, by kind; `longest`: for how long the oldest lasts, ns.

    The resync worker repairs most of them within minutes: those are not wrong yet.
    """
    if counts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        words = f"drift from what Slurm wants: {kinds}"
        lasts = longest >= DRIFT_LASTS
        yield (wrong if lasts else note)(Kind.DRIFT, words, "see lamplighter drift")


def of_failed_nodes(names: Sequence[str]) -> Iterator[Finding]:
    """Nodes that are not as wanted, with no request under way."""
    if names:
        words = f"{plural(len(names), 'node')} failed: {cut(hostlist.collect_hostlist(names))}"
        yield wrong(Kind.NODES_FAILED, words, "see lamplighter nodes show NODE")


def of_conf(differences: Sequence[ConfDifference]) -> Iterator[Finding]:
    """Differences between slurm.conf and lamplighter.toml."""
    for one in differences:
        yield (wrong if one.wrong else note)(Kind.SLURM_CONF, one.words, one.remedy)


def of_roles(broker: BrokerSettings) -> Iterator[Finding]:
    """One broker user for all roles, and what its readers cannot prove."""
    if broker.users is None:
        yield note(
            Kind.ONE_BROKER_USER,
            "one broker user for all roles: who has its password can do everything",
            "write [broker.users] and run lamplighter broker users",
        )
    elif not may_consume(broker.role, DEAD_LETTER_QUEUE):
        words = f"the broker's quorum was not checked: the role {broker.role} may not"
        remedy = "run this where the role operator has its password"
        yield note(Kind.QUORUM_UNKNOWN, words, remedy)


def of_settings(dry_groups: Sequence[str]) -> Iterator[Finding]:
    """Groups in a dry run."""
    if dry_groups:
        words = f"DRY RUN of {', '.join(dry_groups)}: no calls to clouds, no changes in Slurm"
        remedy = "remove dry_run from lamplighter.toml when they may act"
        yield note(Kind.DRY_RUN, words, remedy)
