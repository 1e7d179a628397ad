"""One cloud at work: its threads, its server view, its call queue and its listing schedule.

All methods belong to the engine's thread. Calls and listings run on threads of the driver's own, so
that one slow cloud never holds up another; their results reach the engine as events.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import TypeAlias

from schemas.server import Server
from workers.clouds.actions import CREATE, DELETE, UNSEEN
from workers.clouds.client import Cloud, Listing
from workers.clouds.errors import MISCONFIGURED, Then, Verdict, may_take_effect
from workers.clouds.health import BootPace, Health, RateLimiter
from workers.clouds.missing import HasServers, created, with_listed, with_missing
from workers.clouds.nova_requests import Call
from workers.clouds.servers import ServerView
from workers.config.groups import CloudSettings

_WHOLE_AFTER = 600.0
# While many calls are to be answered, listings keep the cloud busy for no more than this share of time.
_SHARE = 0.25
_PROBE_TOKENS = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A call has ended: `answer` is the server's (or image's) id, or the error.

    `late` is whether a try of it may still take effect.
    """

    cloud: str
    call: Call
    answer: str | BaseException
    late: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """A listing has ended.

    Attributes:
        asked: monotonic seconds when it was requested.
        whole: whether it was of all servers, not only of those that changed.
        listing: the answer, or the error.
    """

    cloud: str
    asked: float
    whole: bool
    listing: Listing | BaseException


CloudEvent: TypeAlias = Answered | Listed


class CloudDriver:
    """Drives one cloud.

    Args:
        name: the cloud's.
        cluster: the cluster whose tags on servers are ours.
        settings: of this cloud.
        cloud: makes the calls.
        post: hands an event to the engine; may be called by any thread.
    """

    def __init__(
        self,
        name: str,
        cluster: str,
        settings: CloudSettings,
        cloud: Cloud,
        post: Callable[[CloudEvent], None],
    ) -> None:
        self.name = name
        self.view = ServerView(cluster)
        self.health = Health()
        self.limiter = RateLimiter(settings.concurrency)
        self.pace = BootPace()
        self.listing_now = False
        self.tokens_away = False  # whether the token service cannot be reached for this cloud
        self.ordered: float | None = None  # when a snapshot asked for a listing that is to come
        # seconds after its request in which a listing may start servers: until the next can be there
        self.listing_lasts = 0.0
        self.in_flight = 0
        self.waiting = 0  # nodes that wait for their turn to call
        self._cloud = cloud
        self._post = post
        self._next_listing = 0.0
        self._usual_listing = inf  # when it would be due without a longer pause
        self._spared = self._spared_until = self._interval = 0.0
        self._since: str | None = None
        self._whole_next = True
        # resumes go first: a job waits for them
        self._queues: dict[bool, deque[str]] = {True: deque(), False: deque()}
        self._callers = ThreadPoolExecutor(settings.concurrency, f"calls-{name}")
        self._lister = ThreadPoolExecutor(1, f"listing-{name}")

    @property
    def away(self) -> str | None:
        """Why the cloud can be neither called nor listed, as an error class; None where it can."""
        if self.tokens_away:
            return "token_service_away"
        return self.health.away.error if self.health.away else None

    @property
    def trouble(self) -> str | None:
        """What `lamplighter status` says of the cloud; None if it can be called and listed."""
        cause = self.health.away
        if cause is not None and cause.error == MISCONFIGURED and not self.tokens_away:
            return str(cause)
        return self.away or ("calls fail" if self.health.actions_away else None)

    def close(self) -> None:
        """End the threads; wait for the calls under way."""
        self._callers.shutdown(wait=True, cancel_futures=True)
        self._lister.shutdown(wait=True, cancel_futures=True)
        self._cloud.close()

    # -- calls

    def queue(self, node: str, *, first: bool) -> None:
        """Let a node wait for its turn to call; `first` before all that are not."""
        self._queues[first].append(node)
        self.waiting += 1

    def next_turn(self, now: float) -> str | None:
        """The next node that may call; None while there is no room or the cloud wants a rest."""
        if not self.waiting or not self._may_call(now):
            return None
        self.waiting -= 1
        return (self._queues[True] or self._queues[False]).popleft()

    def _may_call(self, now: float) -> bool:
        if self.away:
            return False
        if self.in_flight and not self.health.well:
            return False  # one call at a time tries whether the cloud acts again
        return self.limiter.allows(self.in_flight, now)

    def turn_at(self) -> float:
        """Monotonic seconds when a waiting call may be made; infinity if an answer comes first."""
        due = self.limiter.due()
        return due if self.waiting and self._may_call(due) else inf

    def call(self, call: Call, guard: Callable[[], None]) -> None:
        """Make a call on a thread of the pool; `guard` runs there before each try."""
        self.in_flight += 1
        self.limiter.sent(time.monotonic())
        self._callers.submit(self._call, call, guard)

    def _call(self, call: Call, guard: Callable[[], None]) -> None:
        tries = 0

        def asked() -> None:
            nonlocal tries
            guard()
            tries += 1

        try:
            answer: str | BaseException = self._cloud.act(call, asked)
        except Exception as caught:  # noqa: BLE001 - the engine classifies it
            answer = caught
        self._post(Answered(self.name, call, answer, may_take_effect(answer, tries)))

    def answered(self, now: float, *, well: bool = False, acted_for: str | None = None) -> None:
        """Note that a call of `call` has ended at `now` (monotonic seconds), `well` or with an error.

        `acted_for` is the node, if the cloud itself has answered, whatever the answer was.
        """
        self.in_flight -= 1
        if well:
            self.limiter.answered(now)
        if acted_for is not None:
            self.health = self.health.call_answered(acted_for, now)

    def failed(self, verdict: Verdict, rest: float, node: str | None, now: float) -> None:
        """Learn from an error of a call for a node, or (without a node) of a listing.

        `rest` is how many seconds the cloud asks us to wait; `now` in monotonic seconds.
        """
        if node is None or verdict.then is Then.HOLD:  # another call may have an earlier token
            self.tokens_away = verdict.then is Then.HOLD
        match verdict.then:
            case Then.HOLD:
                self.list_later(now + _PROBE_TOKENS)
            case Then.SLOW_DOWN:
                self.slow_down(now + rest)
                if node is None:
                    self.health = self.health.listing_refused(verdict.cause, rest, now)
            case Then.LOOK if node is not None:
                # what a listing of changes has shown is not so
                self.list_whole_next()
            case Then.PROBE | Then.PARK if node is not None:
                self.health = self.health.call_failed(node, now)
                self.list_soon(now)
            case _ if node is None:
                self.health = self.health.listing_failed(verdict.cause, now)
                self.list_later(now + self.health.probe_in)

    def slow_down(self, until: float) -> None:
        """Neither call nor list before `until` (monotonic seconds): the cloud asked for it."""
        now = time.monotonic()
        self.limiter.refused(now, until - now)
        self.list_later(max(self._next_listing, until))

    # -- listings

    def list(self, interval: float, next_in: float, nodes: Iterable[HasServers] = ()) -> None:
        """List what changed; or everything, after `list_whole_next` and each ten minutes.

        A listing of changes may miss one; only a listing of everything corrects that. `interval` is
        usually between two, in seconds; the next one comes in `next_in`, or later where the cloud wants
        fewer. `nodes` are those that are pending.
        """
        now = time.monotonic()
        whole = self._whole_next or now - self.view.whole_as_of > _WHOLE_AFTER
        self.listing_now, self._whole_next = True, False
        usual = self.limiter.interval(interval)
        self._usual_listing, self._interval = now + usual, usual
        at_least = usual if usual > interval else 0.0
        self._next_listing = now + max(next_in, at_least)
        self.limiter.sent(now)
        known = self._known(nodes) if whole else None
        self._lister.submit(self._list, None if whole else self._since, now, known)

    def _known(self, nodes: Iterable[HasServers]) -> dict[str, Server]:
        """Servers of pending nodes and with our tags: a project may have many others."""
        view, found = self.view, dict[str, Server]()
        for node in nodes:
            last = node.row.server_id
            if last and not (view.whole_as_of and node.group.strategy == "delete"):
                found[last] = Server(last, node.name, UNSEEN)
            for made in chain.from_iterable(node.actions.values()):
                if (made.action, made.result) == (CREATE, "done"):
                    found[made.server_id] = created(made.server_id, node.name, view.cluster)
                elif made.action == DELETE:
                    found.pop(made.server_id, None)
        return with_listed(found, view) if view.whole_as_of else found

    def _list(self, since: str | None, asked: float, known: Mapping[str, Server] | None) -> None:
        listing: Listing | BaseException
        whole = known is not None
        try:
            listing = self._cloud.list_servers(since)
            if known:
                listing = with_missing(self._cloud, known, listing)
        except Exception as caught:  # noqa: BLE001 - the engine classifies it
            listing = caught
        self._post(Listed(self.name, asked, whole, listing))

    def listed(self, event: Listed) -> set[str]:
        """Take a listing in; the nodes whose servers have changed."""
        self.listing_now = False
        if isinstance(event.listing, BaseException):
            self._whole_next = self._whole_next or event.whole
            return set()
        self._spared = (time.monotonic() - event.asked) / _SHARE
        self._spared_until = event.asked + self._spared
        self.listing_lasts = 2 * max(self._interval, self._spared)
        self._since = event.listing.since
        self.tokens_away = False
        if (self.health.since, self.health.refused_since) != (None, None):
            self.health = self.health.listing_succeeded()
        if event.listing.lacked:
            self.list_whole_next()  # no listing of changes shows that they are seen again
        return self.view.fold(event.listing.servers, event.asked, whole=event.whole)

    def list_soon(self, now: float) -> None:
        """Do not wait for the next interval."""
        self._next_listing = max(min(self._next_listing, now), self.limiter.rests_until)
        self._spared_until = 0.0

    def list_later(self, moment: float) -> None:
        """Do not list before that moment (monotonic seconds)."""
        self._next_listing, self._usual_listing = moment, inf

    def list_as_usual(self) -> None:
        """End a pause that is longer than usual: somebody waits for a listing."""
        self._next_listing = min(self._next_listing, self._usual_listing)

    def list_whole_next(self) -> None:
        """Let the next listing be of all servers: one of changes may have missed something."""
        self._whole_next = True

    def listing_at(self) -> float:
        """When the next listing is due (monotonic seconds).

        A real Nova's costs as much as a few actions, and before most calls are answered it decides little.
        """
        spared = self._spared_until if self.waiting or self.in_flight > 1 else 0.0
        return max(self._next_listing, spared)
