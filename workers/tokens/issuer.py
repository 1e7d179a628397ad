"""Issues the tokens of one cloud: fetches them in its own thread, once for all waiting requests."""

import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from workers.tokens import cache
from workers.tokens.cache import CacheDecision, FetchToken, ServeToken, Slot
from workers.tokens.errors import REVOKED, SourceError, away, revoked
from workers.tokens.rpc import Answer, TokenGrant, TokenRefusal, TokenReport
from workers.tokens.scoped import ScopedToken
from workers.tokens.source import Source
from workers.tokens.transport import LOGIN_TIMEOUT, time_limit
from workers.tokens.upkeep import Upkeep

_UPKEEP_INTERVAL = 3600.0
# How soon a token service that stands by drops the tokens that another one has revoked.
_LOOK_INTERVAL = 10.0


class Issuer:
    """Serves, fetches and renews the tokens of one cloud.

    It calls `alarm` with a key and an error, once for each key. After `longest_wait` seconds a request
    is refused because the provider is slow: less than the client's timeout, or a slow cloud would
    look like a dead token service.
    """

    def __init__(
        self,
        cloud: str,
        source: Source,
        *,
        alarm: Callable[[str, SourceError], None],
        longest_wait: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cloud = cloud
        self._source = source
        self._alarm = alarm
        self._longest_wait = longest_wait
        self._clock = clock
        self._log = structlog.get_logger().bind(cloud=cloud)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"tokens-{cloud}")
        self._lock = threading.Lock()
        self._slot = Slot()
        # who gets an answer when the fetch ends, and a refusal at this time at the latest
        self._waiters: list[tuple[float, Callable[[Answer], None]]] = []
        self._fetching = False
        self._closed = False
        self._alarmed: tuple[str, str] | None = None
        self._expiry_key: str | None = None
        self._in_upkeep = False
        self._next_upkeep = -math.inf
        self._looking = False
        self._next_look = -math.inf
        self._revocations: frozenset[str] = frozenset()

    def request(self, refused: str | None, answer: Callable[[Answer], None]) -> None:
        """Answer at once from the cache, or at the end of a fetch.

        `refused` is the digest of a token that the cloud has refused, or None; `answer` is called
        once, here or in another thread, and must not block.
        """
        with self._lock:
            now = self._clock()
            decision = cache.decide(self._slot, now, refused, self._source.fingerprint())
            if isinstance(decision, FetchToken):
                self._slot = cache.without_refused(self._slot, now, refused)
                self._waiters.append((now + self._longest_wait, answer))
                self._begin()
                return
            if isinstance(decision, ServeToken):
                self._slot = cache.served(self._slot)
        answer(_answer_to(decision))

    def revoke(self, answer: Callable[[Answer], None]) -> None:
        """Serve no token from now on, until there is another credential, and end the login.

        `answer` is called once, in another thread.
        """
        with self._lock:
            if not self._closed:
                held = self._slot.held
                self._slot = cache.revoked(revoked(self._source.place), self._source.fingerprint())
                self._pool.submit(self._revoke, held, answer)

    def report(self) -> TokenReport:
        """The state of the token, without a fetch."""
        with self._lock:
            slot, left = self._slot, cache.seconds_left(self._slot, self._clock())
        if slot.trouble is None:
            return TokenReport(left)
        error = slot.trouble.error
        return TokenReport(left, str(error), error.remedy)

    def tick(self) -> None:
        """Renew early, and refuse requests that have waited too long; call this every second."""
        with self._lock:
            now = self._clock()
            if cache.renewal_due(self._slot, now, self._source.fingerprint()):
                self._begin()
            if now >= self._next_upkeep and not self._closed:
                self._next_upkeep = now + _UPKEEP_INTERVAL
                self._in_upkeep = True
                self._pool.submit(self._run_upkeep)
            if now >= self._next_look and not (self._looking or self._closed):
                self._next_look = now + _LOOK_INTERVAL
                self._looking = True
                self._pool.submit(self._look_for_revocations)
            late = [answer for deadline, answer in self._waiters if deadline <= now]
            self._waiters = [waiter for waiter in self._waiters if waiter[0] > now]
        for answer in late:
            answer(_answer_to(away(f"still waiting for the login at {self.cloud}")))

    @property
    def busy(self) -> bool:
        """Whether anything runs in the thread."""
        with self._lock:
            return self._fetching or self._in_upkeep or self._looking

    def close(self) -> None:
        """Wait for a running fetch: it may hold a rotated token that is not yet stored."""
        with self._lock:
            self._closed = True
        self._pool.shutdown()

    def _begin(self) -> None:
        if not self._fetching and not self._closed:
            self._fetching = True
            self._pool.submit(self._fetch)

    def _fetch(self) -> None:
        requested, fingerprint = self._clock(), self._source.fingerprint()
        with self._lock:
            blocked = cache.revocation(self._slot, fingerprint)
        outcome = blocked or self._obtain()
        with self._lock:
            now, jitter = self._clock(), random.random()  # noqa: S311 - jitter
            if isinstance(outcome, SourceError):
                self._slot = cache.failed(self._slot, outcome, now, jitter, fingerprint)
                decision: CacheDecision = outcome
            else:
                self._slot = cache.obtained(self._slot, outcome, requested, jitter)
                decision = cache.decide(self._slot, now, None, fingerprint)
            waiters, self._waiters = self._waiters, []
            if waiters:
                self._slot = cache.served(self._slot)
            self._fetching = False
        self._record(outcome, fingerprint)
        for _, answer in waiters:
            answer(_answer_to(decision))

    def _obtain(self) -> ScopedToken | SourceError:
        try:
            with time_limit(LOGIN_TIMEOUT):
                return self._source.fetch()
        except SourceError as error:
            return error
        except Exception as error:  # noqa: BLE001 - waiting requests get an answer in any case
            # text and traceback may contain secrets; the class does not
            return SourceError("internal", f"the token service failed ({type(error).__name__})")

    def _revoke(self, held: cache.Held | None, answer: Callable[[Answer], None]) -> None:
        fingerprint, error = self._source.fingerprint(), revoked(self._source.place)
        with self._lock:
            # a fetch that ran meanwhile has brought another one
            found = {one.token.id: one.token for one in (held, self._slot.held) if one is not None}
            self._slot = cache.revoked(error, fingerprint)
        try:
            left = self._source.revoke(found.values())
        except SourceError as problem:
            left = [problem.message]
        except Exception as problem:  # noqa: BLE001 - as in _obtain
            left = [f"the token service failed ({type(problem).__name__})"]
        with suppress(SourceError):
            self._revocations = self._source.revocations()
        self._log.warning("login_revoked", left=left)
        self._alarmed = (error.error, "")
        self._alarm(f"{error.error}/{fingerprint}", error)
        answer(TokenReport(None, str(error), "; ".join(left) or None))

    def _look_for_revocations(self) -> None:
        """Drop what was obtained before another token service has revoked the secret."""
        found = self._revocations
        with suppress(SourceError):  # the next look shows it; a login is refused meanwhile
            found = self._source.revocations()
        with self._lock:
            held = self._slot.held
            if news := found - self._revocations:
                self._slot = replace(self._slot, held=None)
            self._revocations, self._looking = found, False
        if news:
            self._source.forget([held.token] if held is not None else [])

    def _run_upkeep(self) -> None:
        upkeep = Upkeep()
        try:
            upkeep = self._source.upkeep(time.time_ns())
        except SourceError as error:
            self._log.warning("upkeep_postponed", error=error.error, reason=error.message)
        if upkeep.expiry is not None and upkeep.expiry.key != self._expiry_key:
            self._expiry_key = upkeep.expiry.key
            self._alarm(upkeep.expiry.key, upkeep.expiry.error)
        with self._lock:
            self._in_upkeep = False
            now, fingerprint = self._clock(), self._source.fingerprint()
            if upkeep.use and cache.may_fetch(self._slot, now, fingerprint):
                self._begin()

    def _record(self, outcome: ScopedToken | SourceError, fingerprint: str) -> None:
        if isinstance(outcome, ScopedToken):
            self._log.info("token_obtained", token=outcome.digest[:12], life=outcome.life)
            self._alarmed = None
            return
        self._log.warning("token_not_obtained", error=outcome.error, reason=outcome.message)
        # the secret alone matters to a revocation, and it is the same
        trouble = (outcome.error, "" if outcome.error == REVOKED else fingerprint)
        if outcome.remedy is not None and self._alarmed != trouble:
            self._alarmed = trouble
            # the same trouble may return another day
            self._alarm(f"{outcome.error}/{fingerprint}/{datetime.now(UTC):%Y-%m-%d}", outcome)


def _answer_to(decision: CacheDecision) -> Answer:
    match decision:
        case ServeToken(token, hold):
            return TokenGrant(token.id, dict(token.body), hold)
        case FetchToken():
            decision = away("a login takes longer than the life of its token")
    return TokenRefusal(decision.error, decision.message, decision.permanent)
