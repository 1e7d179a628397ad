"""One cloud's tokens: asks the source in a thread of its own, once for everybody who waits."""

import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from workers.tokens import cache
from workers.tokens.cache import CacheDecision, FetchToken, ServeToken, Slot
from workers.tokens.errors import SourceError, away
from workers.tokens.rpc import Answer, TokenGrant, TokenRefusal, TokenReport
from workers.tokens.scoped import ScopedToken, shown
from workers.tokens.sources import Source
from workers.tokens.upkeep import Upkeep

_UPKEEP_INTERVAL = 3600.0


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Somebody who gets `answer` when the fetch ends, and a refusal at `deadline` at the latest."""

    answer: Callable[[Answer], None]
    deadline: float


class Issuer:
    """Serves, fetches and renews the tokens of one cloud.

    Args:
        cloud: its name.
        source: where its tokens come from.
        alarm: called with a key and what is wrong, once for each key.
        patience: seconds after which a waiter is told that the provider is slow; shorter than
            its own timeout, or a slow cloud would look like a dead token service.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        cloud: str,
        source: Source,
        *,
        alarm: Callable[[str, SourceError], None],
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cloud = cloud
        self._source = source
        self._alarm = alarm
        self._patience = patience
        self._clock = clock
        self._log = structlog.get_logger().bind(cloud=cloud)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"tokens-{cloud}")
        self._lock = threading.Lock()
        self._slot = Slot()
        self._waiters: list[_Waiter] = []
        self._fetching = False
        self._closed = False
        self._alarmed: tuple[str, str] | None = None
        self._ending: str | None = None
        self._looking = False
        self._next_upkeep = -math.inf

    def ask(self, refused: str | None, answer: Callable[[Answer], None]) -> None:
        """Answer at once from what is held, or when the fetch under way has ended.

        Args:
            refused: the digest of a token that the cloud has refused, or None.
            answer: called once, here or in another thread; must only hand over.
        """
        with self._lock:
            now = self._clock()
            decision = cache.decide(self._slot, now, refused, self._source.fingerprint())
            if isinstance(decision, FetchToken):
                self._slot = cache.without_refused(self._slot, now, refused)
                self._waiters.append(_Waiter(answer, now + self._patience))
                self._begin()
                return
            if isinstance(decision, ServeToken):
                self._slot = cache.served(self._slot)
        answer(_said(decision))

    def look(self) -> TokenReport:
        """How the token stands, as far as is known without asking anybody."""
        with self._lock:
            slot, left = self._slot, cache.left(self._slot, self._clock())
        if slot.trouble is None:
            return TokenReport(left)
        error = slot.trouble.error
        return TokenReport(left, f"{error.error}: {error.message}", error.remedy)

    def tick(self) -> None:
        """Renew early, and answer those who have waited too long; to be called every second."""
        with self._lock:
            now = self._clock()
            if cache.due(self._slot, now, self._source.fingerprint()):
                self._begin()
            if now >= self._next_upkeep and not self._closed:
                self._next_upkeep = now + _UPKEEP_INTERVAL
                self._looking = True
                self._pool.submit(self._look_after)
            late = [waiter for waiter in self._waiters if waiter.deadline <= now]
            self._waiters = [waiter for waiter in self._waiters if waiter.deadline > now]
        for waiter in late:
            waiter.answer(_said(away(f"still waiting for the login at {self.cloud}")))

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        with self._lock:
            return self._fetching or self._looking

    def close(self) -> None:
        """Let a fetch under way end: it may hold a rotated token that is not yet written down."""
        with self._lock:
            self._closed = True
        self._pool.shutdown()

    def _begin(self) -> None:
        if not self._fetching and not self._closed:
            self._fetching = True
            self._pool.submit(self._fetch)

    def _fetch(self) -> None:
        asked, fingerprint = self._clock(), self._source.fingerprint()
        outcome = self._obtain()
        with self._lock:
            now, jitter = self._clock(), random.random()  # noqa: S311 - jitter
            decision: CacheDecision
            if isinstance(outcome, SourceError):
                self._slot = cache.failed(self._slot, outcome, now, jitter, fingerprint)
                decision = outcome
            else:
                self._slot = cache.obtained(self._slot, outcome, asked, jitter)
                decision = cache.decide(self._slot, now, None, fingerprint)
            waiters, self._waiters = self._waiters, []
            if waiters:
                self._slot = cache.served(self._slot)
            self._fetching = False
        self._report(outcome, fingerprint)
        answer = _said(decision)
        for waiter in waiters:
            waiter.answer(answer)

    def _obtain(self) -> ScopedToken | SourceError:
        try:
            return self._source.fetch()
        except SourceError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait get an answer
            # its text and its traceback may show secrets; its class does not
            return SourceError("internal", f"the token service failed ({type(error).__name__})")

    def _look_after(self) -> None:
        upkeep = Upkeep()
        try:
            upkeep = self._source.upkeep(time.time_ns())
        except SourceError as error:
            self._log.warning("upkeep_put_off", error=error.error, reason=error.message)
        if upkeep.ending is not None and upkeep.ending.key != self._ending:
            self._ending = upkeep.ending.key
            self._alarm(upkeep.ending.key, upkeep.ending.error)
        with self._lock:
            self._looking = False
            now, fingerprint = self._clock(), self._source.fingerprint()
            if upkeep.use and cache.may_fetch(self._slot, now, fingerprint):
                self._begin()

    def _report(self, outcome: ScopedToken | SourceError, fingerprint: str) -> None:
        if isinstance(outcome, ScopedToken):
            self._log.info("token_obtained", token=shown(outcome.digest), life=outcome.life)
            self._alarmed = None
            return
        self._log.warning("token_not_obtained", error=outcome.error, reason=outcome.message)
        trouble = (outcome.error, fingerprint)
        if outcome.remedy is not None and self._alarmed != trouble:
            self._alarmed = trouble
            # the same trouble may come back one day
            self._alarm(f"{outcome.error}/{fingerprint}/{datetime.now(UTC):%Y-%m-%d}", outcome)


def _said(decision: CacheDecision) -> Answer:
    match decision:
        case ServeToken(token, hold):
            return TokenGrant(token.id, dict(token.body), hold)
        case FetchToken():
            decision = away("a login takes longer than its token lives")
    return TokenRefusal(decision.error, decision.message, decision.permanent)
