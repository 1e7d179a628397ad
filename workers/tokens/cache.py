"""What to do about a request for a token: pure decisions over what is held of one cloud.

Times are seconds on a clock of the caller's that never goes back.
"""

import math
from dataclasses import dataclass, replace

from workers.tokens.errors import SourceError
from workers.tokens.scoped import ScopedToken

_LONGEST_FLOOR = 300.0
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0
# A cloud that refuses a token fresh from Keystone is itself at fault: no login storm for its sake.
_REFUSED_AGAIN = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """A token in hand: good until `expires`, renewed from `renew` on if it `served` at all."""

    token: ScopedToken
    expires: float
    renew: float
    served: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the last fetch gave no token.

    Not tried again before `until`, except with a credential of another fingerprint.
    """

    error: SourceError
    until: float
    fingerprint: str
    failures: int


@dataclass(frozen=True, slots=True)
class Slot:
    """All that is held of one cloud; `replaced` is when a refused token was last given up."""

    held: Held | None = None
    trouble: Trouble | None = None
    replaced: float = -math.inf


@dataclass(frozen=True, slots=True)
class ServeToken:
    """Give this token; the asker may use it for `hold` seconds before it asks again."""

    token: ScopedToken
    hold: float


@dataclass(frozen=True, slots=True)
class FetchToken:
    """Get a new token, then answer."""


CacheDecision = ServeToken | FetchToken | SourceError


def floor(life: float) -> float:
    """A token with less than this left (seconds) is not served."""
    return min(_LONGEST_FLOOR, life / 4)


def decide(slot: Slot, now: float, refused: str | None, fingerprint: str) -> CacheDecision:
    """What to answer.

    Args:
        slot: what is held.
        now: the time.
        refused: the digest of a token that the cloud has refused, or None.
        fingerprint: the credential's.
    """
    held = slot.held
    if held is not None and held.expires - now >= floor(held.token.life):
        if held.token.digest != refused:
            return ServeToken(held.token, held.expires - now - floor(held.token.life) / 2)
        if now - slot.replaced < _REFUSED_AGAIN:
            return SourceError("refused_by_cloud", "the cloud refuses tokens fresh from Keystone")
    return _blocked(slot, now, fingerprint) or FetchToken()


def left(slot: Slot, now: float) -> float | None:
    """Seconds that the token in hand is still served; None where there is none to serve."""
    if slot.held is None:
        return None
    seconds = slot.held.expires - floor(slot.held.token.life) - now
    return seconds if seconds >= 0 else None


def due(slot: Slot, now: float, fingerprint: str) -> bool:
    """Whether to get the next token ahead of time: this one is in use and runs out soon."""
    held = slot.held
    if held is None or not held.served or now < held.renew:
        return False
    return may_fetch(slot, now, fingerprint)


def may_fetch(slot: Slot, now: float, fingerprint: str) -> bool:
    """Whether no trouble of late stands in the way."""
    return _blocked(slot, now, fingerprint) is None


def without_refused(slot: Slot, now: float, refused: str | None) -> Slot:
    """The slot once a fetch has begun: a refused token is served to nobody any more."""
    if slot.held is not None and slot.held.token.digest == refused:
        return replace(slot, held=None, replaced=now)
    return slot


def obtained(slot: Slot, token: ScopedToken, asked: float, jitter: float) -> Slot:
    """The slot with a new token.

    Args:
        slot: what was held.
        token: what was got.
        asked: when it was asked for: its life began later, so that we err on the safe side.
        jitter: from 0 to 1, so that several clouds or services do not renew at once.
    """
    expires = asked + token.life
    renew = expires - floor(token.life) * (1.2 + 0.4 * jitter)
    return replace(slot, held=Held(token, expires, renew), trouble=None)


def failed(slot: Slot, error: SourceError, now: float, jitter: float, fingerprint: str) -> Slot:
    """The slot after a fetch that gave nothing; a token in hand stays."""
    failures = slot.trouble.failures + 1 if slot.trouble is not None else 1
    ceiling = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(failures - 1, 10))
    wait = max(error.retry_after, ceiling * (0.5 + jitter / 2))
    until = math.inf if error.permanent else now + wait
    return replace(slot, trouble=Trouble(error, until, fingerprint, failures))


def served(slot: Slot) -> Slot:
    """The slot once its token was given to somebody."""
    if slot.held is None or slot.held.served:
        return slot
    return replace(slot, held=replace(slot.held, served=True))


def _blocked(slot: Slot, now: float, fingerprint: str) -> SourceError | None:
    trouble = slot.trouble
    if trouble is None or now >= trouble.until or fingerprint != trouble.fingerprint:
        return None
    return trouble.error
