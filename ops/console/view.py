"""The site at one moment, as the console shows it, and what has changed between two. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from workers.broker.depths import QueueDepth
from workers.broker.topology import DEAD_LETTER_QUEUE, RETRY_TIERS
from workers.store.heartbeats import Heartbeat
from workers.store.lamps import Lamp
from workers.store.overview import NodeLamp, Open

_SHOWN_OPEN = 8
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
class LoginState:
    """A cloud's refresh token: when it ends unless it is used, ns; None where that is not known."""

    cloud: str
    ends: int | None


@dataclass(frozen=True, slots=True)
class SiteView:
    """All that the first page shows.

    Attributes:
        taken_at: when, ns since the epoch.
        groups: the nodes of each group, in the configuration's order; "" for those of no group.
        queues: None where the broker is away.
        open: requests under way, the oldest first.
        problems: what could not be read, in words.
        events: the latest; None where the audit is away.
        slurm: nodes' states in the newest snapshot, as scontrol prints them.
        stale: whether that snapshot is too old to be worth anything.
        drifts: what is not as Slurm wants it, by kind.
        blind: whether the state store is away, so that of nodes only the names are known.
        adrift: how a node's power is not as Slurm wants it, by node.
    """

    taken_at: int
    groups: Mapping[str, tuple[NodeLamp, ...]] = field(default_factory=dict)
    queues: tuple[QueueDepth, ...] | None = None
    workers: tuple[Heartbeat, ...] = ()
    open: tuple[Open, ...] = ()
    logins: tuple[LoginState, ...] = ()
    events: tuple[Line, ...] | None = ()
    problems: tuple[str, ...] = ()
    slurm: Mapping[str, str] = field(default_factory=dict)
    drifts: Mapping[str, int] = field(default_factory=dict)
    adrift: Mapping[str, str] = field(default_factory=dict)
    stale: bool = False
    blind: bool = False

    @property
    def lamps(self) -> list[NodeLamp]:
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
    def oldest(self) -> list[tuple[Open, Lamp]]:
        """The oldest requests under way, as many as are shown, and how their nodes are."""
        lamps = {lit.node: lit.lamp for lit in self.lamps}
        # a node that is known to nobody yet is about to be
        return [(one, lamps.get(one.node, Lamp.OUT)) for one in self.open[:_SHOWN_OPEN]]

    def counts(self, group: str) -> Counter[Lamp]:
        """How many of a group's nodes are how."""
        return Counter(lit.lamp for lit in self.groups.get(group, ()))


def summary(view: SiteView) -> str:
    """The site in one sentence."""
    if view.blind:
        return "How the nodes stand is not known"
    counts = Counter(lit.lamp for lit in view.lamps)
    parts = [f"{counts[Lamp.LIT]:,} of {many(len(view.lamps), 'node')} lit"]
    if counts[Lamp.LIGHTING]:
        parts.append(f"{counts[Lamp.LIGHTING]:,} lighting")
    if counts[Lamp.GOING_OUT]:
        parts.append(f"{counts[Lamp.GOING_OUT]:,} going out")
    if counts[Lamp.FAILED]:
        parts.append(f"{counts[Lamp.FAILED]:,} not as wanted")
    return ", ".join(parts)


def same_nodes(before: SiteView, after: SiteView) -> bool:
    """Whether the page's lamps are the same nodes in the same order."""
    return {g: [lit.node for lit in nodes] for g, nodes in before.groups.items()} == {
        g: [lit.node for lit in nodes] for g, nodes in after.groups.items()
    }


def changed_lamps(before: SiteView, after: SiteView) -> list[tuple[int, str, str]]:
    """The lamps that have changed, by number, between views of the same nodes; and their words."""
    pairs = zip(before.lamps, after.lamps, strict=True)
    shown = (
        ((sign(before, a), words(before, a)), (sign(after, b), words(after, b))) for a, b in pairs
    )
    return [(number, *now) for number, (then, now) in enumerate(shown) if then != now]


def astray(lit: NodeLamp, drift: str | None) -> NodeLamp:
    """A node's lamp where a drift was found: what the store last saw of it is out of date then."""
    under_way = lit.lamp in {Lamp.LIGHTING, Lamp.GOING_OUT}
    return lit if drift is None or under_way else replace(lit, lamp=Lamp.FAILED)


def sign(view: SiteView, lit: NodeLamp) -> str:
    """How a node's lamp looks: a Lamp, or `unknown`."""
    return "unknown" if view.blind else str(lit.lamp)


def words(view: SiteView, lit: NodeLamp) -> str:
    """A node's lamp in words: what is wanted against what is there, and what Slurm says."""
    if view.blind:
        return "not known"
    slurm, drift = view.slurm.get(lit.node), view.adrift.get(lit.node)
    if lit.lamp is not Lamp.FAILED:
        told = WORDS[lit.lamp]
    elif drift is not None:
        told = f"not as Slurm wants it: {drift}"
    else:
        told = f"wanted {lit.desired}, but {lit.observed or 'never seen'}"
    return told if slurm is None else f"{told}; Slurm: {slurm}"


def many(count: int, noun: str) -> str:
    """So many of something, in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
