"""One cloud as the engine drives it: its threads, its view, whose turn it is, when to list.

All methods belong to the engine's thread; calls and listings run on the site's own, so that a sick
cloud never holds up another.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from schemas.commands import Desired
from workers.clouds.client import Cloud, Listing
from workers.clouds.health import Health
from workers.clouds.limiter import RateLimiter
from workers.clouds.nova_requests import Call
from workers.clouds.servers import ServerView
from workers.config.groups import CloudSettings

Callback = Callable[[], None]
Answered = Callable[[str | BaseException], None]

_FORGET_AFTER = 600.0
# While calls wait for their turn, listings keep the cloud busy for no more than this share of time.
_SHARE = 0.25


class CloudDriver:
    """A cloud under way.

    Args:
        name: the cloud's.
        cluster: whose tags on servers are ours.
        settings: of this cloud.
        cloud: makes the calls.
        post: runs a function on the engine's thread.
    """

    def __init__(
        self,
        name: str,
        cluster: str,
        settings: CloudSettings,
        cloud: Cloud,
        post: Callable[[Callback], None],
    ) -> None:
        self.name = name
        self.view = ServerView(cluster)
        self.health = Health()
        self.listing_now = False
        self.next_listing = 0.0
        # monotonic seconds when a snapshot asked for a listing that is yet to come
        self.ordered: float | None = None
        self._spared_until = 0.0
        self.pace = RateLimiter(settings.concurrency)
        self._cloud = cloud
        self._post = post
        self._since: str | None = None
        self._all_next = True
        self._in_flight = 0
        # resumes go first: a job waits for them
        self._turns: dict[bool, deque[str]] = {True: deque(), False: deque()}
        self._callers = ThreadPoolExecutor(settings.concurrency, f"calls-{name}")
        self._lister = ThreadPoolExecutor(1, f"listing-{name}")

    def close(self) -> None:
        """End the threads; a call under way is waited for."""
        self._callers.shutdown(wait=True, cancel_futures=True)
        self._lister.shutdown(wait=True, cancel_futures=True)
        self._cloud.close()

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return self._in_flight

    # -- calls

    def queue(self, node: str, desired: Desired) -> None:
        """Let a node wait for its turn to call."""
        self._turns[desired is Desired.UP].append(node)

    def next_turn(self, now: float) -> str | None:
        """The node whose turn it is, or None while there is no room or the cloud wants rest."""
        if self.health.away is not None or not self.pace.allows(self._in_flight, now):
            return None
        if not self.health.well and self._in_flight:
            return None  # one at a time tries whether it acts again
        for turns in self._turns.values():
            if turns:
                return turns.popleft()
        return None

    def call(
        self,
        call: Call,
        guard: Callable[[], None],
        answered: Answered,
    ) -> None:
        """Make a call; `answered` gets the server's id or the error, on the engine's thread."""
        self._in_flight += 1
        self.pace.sent(time.monotonic())
        self._callers.submit(self._call, call, guard, answered)

    def _call(
        self,
        call: Call,
        guard: Callable[[], None],
        answered: Answered,
    ) -> None:
        answer: str | BaseException
        try:
            answer = self._cloud.act(call, guard)
        except Exception as caught:  # noqa: BLE001 - the engine classifies whatever it is
            answer = caught
        self._post(partial(self._called, answer, answered))

    def _called(self, answer: str | BaseException, answered: Answered) -> None:
        self._in_flight -= 1
        answered(answer)

    def slow_down(self, until: float) -> None:
        """The cloud wants to rest: neither call nor list before `until` (monotonic seconds)."""
        now = time.monotonic()
        self.pace.refused(now, until - now)
        self.next_listing = max(self.next_listing, until)

    # -- listings

    def list(self, interval: float, listed: Callable[[BaseException | None], None]) -> None:
        """List what changed, or all after a long rest; `listed` runs on the engine's thread."""
        now = time.monotonic()
        self.listing_now, self.next_listing = True, now + self.pace.interval(interval)
        self.pace.sent(now)
        if self._all_next or now - self.view.as_of > _FORGET_AFTER:
            self._since, self._all_next = None, False
        self._lister.submit(self._list, self._since, now, listed)

    def list_soon(self, now: float) -> None:
        """Do not wait for the next interval."""
        self.next_listing = max(min(self.next_listing, now), self.pace.rests_until)
        self._spared_until = 0.0

    def listing_at(self) -> float:
        """When the next listing is due (monotonic seconds).

        A listing of a real Nova costs as much as a few actions, and one made while most calls are
        still to come settles little.
        """
        calls_wait = any(self._turns.values())
        return max(self.next_listing, self._spared_until) if calls_wait else self.next_listing

    def list_all_next(self) -> None:
        """Something is not as thought: the next listing starts anew, whatever is under way."""
        self._all_next = True

    def _list(
        self, since: str | None, asked: float, listed: Callable[[BaseException | None], None]
    ) -> None:
        listing: Listing | None = None
        error: BaseException | None = None
        try:
            listing = self._cloud.list_servers(since)
        except Exception as caught:  # noqa: BLE001 - the engine classifies whatever it is
            error = caught
        self._post(partial(self._listed, since, asked, listing, error, listed))

    def _listed(
        self,
        since: str | None,
        asked: float,
        listing: Listing | None,
        error: BaseException | None,
        listed: Callable[[BaseException | None], None],
    ) -> None:
        self.listing_now = False
        self._spared_until = asked + (time.monotonic() - asked) / _SHARE
        if listing is not None:
            self.view.fold(listing.servers, asked, whole=since is None)
            self._since = listing.since
        listed(error)
