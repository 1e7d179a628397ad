"""The site at one moment, as the console shows it, and what has changed between two. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from workers.lamps import Lamp
from workers.queues import Queue
from workers.store.overview import Lit, Open
from workers.store.signs import Sign
from workers.topology import (
    AUDIT_QUEUE,
    DEAD_LETTER_QUEUE,
    RESUME_QUEUE,
    RETRY_TIERS,
    SNAPSHOT_QUEUE,
    SUSPEND_QUEUE,
    TOKEN_QUEUE,
)

# A queue that nobody consumes is worth a word only where somebody should.
_CONSUMED = {
    RESUME_QUEUE: "power",
    SUSPEND_QUEUE: "power",
    TOKEN_QUEUE: "tokens",
    AUDIT_QUEUE: "audit",
    SNAPSHOT_QUEUE: "resync",
}
_SHOWN_OPEN = 8
_DAY = 86_400 * 10**9
_SOON = 14 * _DAY
WORDS = {
    Lamp.LIT: "lit",
    Lamp.LIGHTING: "lighting",
    Lamp.GOING_OUT: "going out",
    Lamp.OUT: "out",
    Lamp.FAILED: "not as wanted",
}


@dataclass(frozen=True, slots=True)
class Line:
    """An event in the stream; time in ns since the epoch, strings as hostile as they came."""

    seq: int
    time: int
    what: str
    subject: str | None
    request_id: str | None
    words: str | None


@dataclass(frozen=True, slots=True)
class Login:
    """A cloud's refresh token: when it ends unless it is used, ns; None where that is not known."""

    cloud: str
    ends: int | None


@dataclass(frozen=True, slots=True)
class View:
    """All that the first page shows.

    Attributes:
        taken_at: when, ns since the epoch.
        groups: the nodes of each group, in the configuration's order; "" for those of no group.
        queues: None where the broker is away.
        open: requests under way, the oldest first.
        problems: what could not be read, in words.
        drifts: what is not as Slurm wants it, by kind.
    """

    taken_at: int
    groups: Mapping[str, tuple[Lit, ...]] = field(default_factory=dict)
    queues: tuple[Queue, ...] | None = None
    workers: tuple[Sign, ...] = ()
    open: tuple[Open, ...] = ()
    logins: tuple[Login, ...] = ()
    events: tuple[Line, ...] = ()
    problems: tuple[str, ...] = ()
    drifts: Mapping[str, int] = field(default_factory=dict)

    @property
    def lamps(self) -> list[Lit]:
        """All nodes in the order of the page; their places are their numbers there."""
        return [lit for group in self.groups.values() for lit in group]

    @property
    def dead_letters(self) -> int:
        """How many wait for a person."""
        found = (q.ready for q in self.queues or () if q.name == DEAD_LETTER_QUEUE)
        return next(found, None) or 0

    @property
    def resting(self) -> int:
        """How many requests rest in retry tiers."""
        return sum(q.ready or 0 for q in self.queues or () if q.name in RETRY_TIERS)

    @property
    def oldest(self) -> tuple[Open, ...]:
        """The oldest requests under way, as many as are shown."""
        return self.open[:_SHOWN_OPEN]

    def counts(self, group: str) -> Counter[Lamp]:
        """How many of a group's nodes are how."""
        return Counter(lit.lamp for lit in self.groups.get(group, ()))


def concerns(view: View) -> list[str]:
    """What a person should look at, the gravest first; nothing where all is well."""
    return [
        *view.problems,
        *_unconsumed(view),
        *_silent(view),
        *_logins(view),
        *_counted(view),
    ]


def _unconsumed(view: View) -> Iterator[str]:
    missing = [q.name for q in view.queues or () if q.ready is None]
    if missing:
        yield f"queues are missing: run lamplighter topology apply ({', '.join(missing)})"
    absent = {
        _CONSUMED[q.name] for q in view.queues or () if q.consumers == 0 and q.name in _CONSUMED
    }
    if absent:
        yield f"nothing consumes for: {', '.join(sorted(absent))}; nothing is lost, start what is missing"


def _silent(view: View) -> Iterator[str]:
    for worker in view.workers:
        if worker.is_silent(view.taken_at):
            yield f"worker {worker.name} is silent"


def _logins(view: View) -> Iterator[str]:
    for login in view.logins:
        if login.ends is not None and login.ends - view.taken_at < _SOON:
            days = max(0, (login.ends - view.taken_at) // _DAY)
            yield f"the refresh token for {login.cloud} ends in {days} days: lamplighter tokens login {login.cloud}"


def _counted(view: View) -> Iterator[str]:
    if view.dead_letters:
        yield f"{many(view.dead_letters, 'dead letter')} to decide on"
    if view.drifts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in view.drifts.items())
        yield f"not as Slurm wants it: {kinds} (lamplighter drift)"
    failed = sum(lit.lamp is Lamp.FAILED for lit in view.lamps)
    if failed:
        yield f"{many(failed, 'node')} not as wanted"


def summary(view: View) -> str:
    """The site in one sentence."""
    counts = Counter(lit.lamp for lit in view.lamps)
    parts = [f"{counts[Lamp.LIT]} of {many(len(view.lamps), 'node')} lit"]
    if counts[Lamp.LIGHTING]:
        parts.append(f"{counts[Lamp.LIGHTING]} lighting")
    if counts[Lamp.GOING_OUT]:
        parts.append(f"{counts[Lamp.GOING_OUT]} going out")
    if counts[Lamp.FAILED]:
        parts.append(f"{counts[Lamp.FAILED]} not as wanted")
    return ", ".join(parts)


def same_nodes(before: View, after: View) -> bool:
    """Whether the page's lamps are the same nodes in the same order."""
    return {g: [lit.node for lit in nodes] for g, nodes in before.groups.items()} == {
        g: [lit.node for lit in nodes] for g, nodes in after.groups.items()
    }


def changed_lamps(before: View, after: View) -> list[tuple[int, Lamp, str]]:
    """The lamps that have changed, by number, between views of the same nodes; and their words."""
    pairs = zip(before.lamps, after.lamps, strict=True)
    return [
        (n, now.lamp, words(now))
        for n, (then, now) in enumerate(pairs)
        if then.lamp is not now.lamp or words(then) != words(now)
    ]


def words(lit: Lit) -> str:
    """A node's lamp in words; where it is not as wanted, what Slurm wants against what is there."""
    if lit.lamp is not Lamp.FAILED:
        return WORDS[lit.lamp]
    return f"wanted {lit.desired}, but {lit.observed or 'never seen'}"


def many(count: int, noun: str) -> str:
    """So many of something, in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
