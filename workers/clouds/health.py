"""How well a cloud is, learned from its answers: whether it acts, how fast it may be called and listed.

No clock of its own, no I/O.

An outage must not cost a request an attempt, so it is told apart from one broken server. A failed
call leads to a listing at once: if that fails too, the cloud is away. If it succeeds, the failure is
the node's own only when the cloud has acted for another node since; otherwise its actions are away.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from schemas.events import Cause
from workers.broker.topology import RETRY_TIERS
from workers.clouds.errors import NO_ROOM
from workers.process.doubling import doubled

_NODES_IN_A_ROW = 3
_FIRST_PROBE, _LONGEST_PROBE = 1.0, 15.0
_MINUTE = 60.0
# Failures of a node that lie further apart are not in a row: longer than any retry tier.
_STREAK = 1200.0

_FIRST_WINDOW = 4.0
_LESS = 0.7
_SLOWEST = 0.5
_FIRST_RATE = 3.0
# Of the requests that a cloud takes, the share that listings may use up.
_LISTINGS = 0.25
# The share gained in a second without a refusal: much while far from where the last refusal came.
_CLIMB, _CREEP = 0.15, 0.02
_NEAR = 0.85
_LATELY = 1.0

# The boots of a group that count, and how many are enough.
_LAST, _ENOUGH = 10, 3
# A boot is not expected before this part of the shortest, nor after this part of the longest.
_FIRST, _LATEST = 0.95, 1.1
# Intervals between two listings: at most, so that a boot that fails early is noticed; at least; and
# how many of those saved may be spent later.
_SELDOM, _OFTEN, _MOST_SAVED = 4.0, 0.25, 20.0
# With more nodes pending, one of them is always about to be ready, and each listing is a long one.
_MANY = 200


@dataclass(frozen=True, slots=True)
class Health:
    """A cloud's health; times are monotonic seconds.

    Attributes:
        away: why the cloud is away, or None.
        since: when the trouble began.
        probes: failed listings in a row.
        refused_since: since when it asks us to list it later, or None.
        failing: the nodes whose calls fail, and since when.
        acted_at: when a call was last answered.
        booted_at: when a boot was last completed.
        stuck_at: when several boots were last found stuck together.
    """

    away: Cause | None = None
    since: float | None = None
    probes: int = 0
    refused_since: float | None = None
    failing: Mapping[str, float] = field(default_factory=dict)
    acted_at: float = 0.0
    booted_at: float = -inf
    stuck_at: float = -inf

    @property
    def well(self) -> bool:
        """Whether calls may be made without restraint."""
        return self.away is None and not self.actions_away

    @property
    def actions_away(self) -> bool:
        """Whether the cloud lists servers but does not act."""
        return sum(at > self.acted_at for at in self.failing.values()) >= _NODES_IN_A_ROW

    def is_own_fault(self, node: str) -> bool:
        """Whether a failing call is the node's own fault: the cloud has acted for others since."""
        failed_at = self.failing.get(node)
        return failed_at is not None and self.acted_at > failed_at

    @property
    def probe_in(self) -> float:
        """Seconds until the next listing of a cloud that is away."""
        return doubled(_FIRST_PROBE, self.probes, _LONGEST_PROBE)

    def listing_failed(self, cause: Cause, now: float) -> "Health":
        """After a listing that failed."""
        return replace(self, away=cause, since=self.since or now, probes=self.probes + 1)

    def listing_refused(self, cause: Cause, rest: float, now: float) -> "Health":
        """After a listing that the cloud would rather have later; `rest` is how much later, in seconds.

        It is away once it has answered nothing else for a minute, or asks for as much.
        """
        began = now if self.refused_since is None else self.refused_since
        if max(rest, now - began) < _MINUTE:
            return replace(self, refused_since=began)
        return replace(self.listing_failed(cause, now), refused_since=began)

    def listing_succeeded(self) -> "Health":
        """After a listing that succeeded."""
        since = self.since if self.failing else None
        return replace(self, away=None, probes=0, since=since, refused_since=None)

    def call_failed(self, node: str, now: float) -> "Health":
        """After a call that the cloud could not answer."""
        recent = {name: at for name, at in self.failing.items() if now - at < _STREAK}
        failing = {node: now, **recent}
        return replace(self, failing=failing, since=self.since or now)

    def call_answered(self, node: str, now: float) -> "Health":
        """After a call that the cloud answered, whatever the answer was."""
        failing = {name: at for name, at in self.failing.items() if name != node}
        since = self.since if self.away else None
        return replace(self, failing=failing, acted_at=now, since=since)

    def round_ended(self, node: str) -> "Health":
        """After a round of a node has ended: its failures say nothing about the next one."""
        if node not in self.failing:
            return self
        failing = {name: at for name, at in self.failing.items() if name != node}
        since = self.since if failing or self.away else None
        return replace(self, failing=failing, since=since)

    def boot_completed(self, now: float) -> "Health":
        """After a node of this cloud was seen running."""
        return replace(self, booted_at=now)

    def boots_stuck(self, now: float) -> "Health":
        """After several boots ran out of time together."""
        return replace(self, stuck_at=now)

    def rest(self, now: float) -> str:
        """The retry tier where requests rest meanwhile: longer as the trouble lasts."""
        lasted = 0.0 if self.since is None else now - self.since
        tiers = list(RETRY_TIERS)
        return tiers[0] if lasted < _MINUTE else tiers[1] if lasted < 10 * _MINUTE else tiers[2]


@dataclass(slots=True)
class GroupRest:
    """The groups whose cloud had no room: for a while, none of their nodes is tried."""

    _resting: dict[str, tuple[float, Cause]] = field(default_factory=dict)

    def note(self, group: str, cause: Cause, seconds: float, now: float) -> Cause:
        """Let the group rest if the cloud had no room; the cause, with that added."""
        if cause.error not in NO_ROOM or self.refusal(group, now) is not None:
            return cause
        self._resting[group] = now + seconds, cause
        return Cause(cause.error, f"{cause.message}; group {group} rests for {seconds:g} s")

    def refusal(self, group: str, now: float) -> Cause | None:
        """Why nothing of this group may be tried now (monotonic seconds), or None."""
        until, cause = self._resting.get(group, (0.0, None))
        if cause is None or now >= until:
            return None
        left = f"not tried: group {group} rests for {until - now:.0f} s more after"
        return Cause(cause.error, f"{left}: {cause.message}")


@dataclass(slots=True)
class RateLimiter:
    """The pace of one cloud; times are monotonic seconds.

    In flight: slow start, then additive increase and multiplicative decrease. Once the cloud has said
    that it was too much, a rate as well: a limit of n requests a second is not kept by few requests in
    flight.

    Attributes:
        most: calls in flight that are never exceeded.
        window: calls in flight that are allowed now.
        rate: calls a second, or None while the cloud has not complained.
        rests_until: nothing is sent before.
    """

    most: int
    window: float = _FIRST_WINDOW
    rate: float | None = None
    rests_until: float = 0.0
    _starting: bool = True
    _next: float = 0.0
    _refused_at: float | None = None
    _grown: float = 0.0
    _answers: deque[float] = field(default_factory=deque)

    def allows(self, in_flight: int, now: float) -> bool:
        """Whether one more may be sent."""
        return in_flight < int(self.window) and now >= max(self.rests_until, self._next)

    def due(self) -> float:
        """When the next may be sent, as far as time decides."""
        return max(self.rests_until, self._next)

    def interval(self, shortest: float) -> float:
        """Seconds between two listings: as wished, unless that left too little for calls."""
        return shortest if self.rate is None else max(shortest, 1 / (self.rate * _LISTINGS))

    def sent(self, now: float) -> None:
        """One was sent, also what needs no leave: a listing."""
        if self.rate is not None:
            self._next = now + 1 / self.rate

    def answered(self, now: float) -> None:
        """The cloud took one."""
        self._answers.append(now)
        self._forget(now)
        step = 1.0 if self._starting else 1 / self.window
        self.window = min(float(self.most), self.window + step)
        if self.rate is not None:
            near = self._refused_at is not None and self.rate > _NEAR * self._refused_at
            gain = (_CREEP if near else _CLIMB) * min(max(now - self._grown, 0.0), _LATELY)
            self.rate *= 1 + gain
            self._grown = now

    def refused(self, now: float, retry_after: float) -> None:
        """The cloud said that it was too much; of many such answers to one burst the first counts."""
        if now >= self.rests_until:
            self._forget(now)
            lately = max(float(len(self._answers)), _FIRST_RATE)
            if self.rate is not None:
                lately = self._refused_at = self.rate
            self.rate = max(_SLOWEST, lately * _LESS)
            self.window = max(1.0, self.window / 2)
            self._starting = False
            self._grown = now + retry_after
        self.rests_until = max(self.rests_until, now + retry_after)

    def _forget(self, now: float) -> None:
        while self._answers and self._answers[0] < now - _LATELY:
            self._answers.popleft()


@dataclass(slots=True)
class BootPace:
    """When to list a cloud on which nodes boot: seldom before a boot can be over, often about then.

    A boot takes about as long as the last ones of its group. What is saved while it cannot be over yet
    is spent when it is about to be: in all, a cloud is not listed more often than once an interval.
    Times are in seconds.
    """

    _boots: dict[str, deque[float]] = field(default_factory=dict)
    _saved: float = 0.0

    def booted(self, group: str, took: float) -> None:
        """A boot of this group was seen to be over, `took` seconds after its call was answered."""
        self._boots.setdefault(group, deque(maxlen=_LAST)).append(took)

    def left(self, group: str, age: float | None) -> float | None:
        """Time until a boot of this group, of this age, may be over; None if that is not known.

        `age` is None for a node that does not boot.
        """
        boots = self._boots.get(group, ())
        if age is None or len(boots) < _ENOUGH or age > max(boots) * _LATEST:
            return None
        return max(0.0, min(boots) * _FIRST - age)

    def next_in(self, pending: Sequence[tuple[str, float | None]], interval: float) -> float:
        """Time until the next listing of a cloud, if one is made now.

        `pending` has the group and the age of the boot of each node that is pending on the cloud;
        `interval` is the usual time.
        """
        if len(pending) > _MANY:
            return interval
        wanted = inf
        for group, age in pending:
            left = self.left(group, age)
            wanted = min(wanted, interval if left is None else max(left, _OFTEN * interval))
            if wanted <= _OFTEN * interval:
                break
        wanted = interval if wanted == inf else min(wanted, _SELDOM * interval)
        saved = self._saved + wanted / interval - 1
        if saved < 0:
            wanted, saved = interval, self._saved
        self._saved = min(saved, _MOST_SAVED)
        return wanted
