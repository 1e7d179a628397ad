"""Decides how to answer a request for a token of one cloud. Pure.

Times are seconds on a monotonic clock of the caller.
"""

import math
from dataclasses import dataclass, replace

from workers.process.doubling import doubled
from workers.tokens.errors import REVOKED, SourceError
from workers.tokens.scoped import ScopedToken

_LONGEST_FLOOR = 300.0
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0
# If a cloud refuses a new token, the cloud is at fault; repeated logins would not help.
_REFUSED_AGAIN = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """A held token: valid until `expires`, renewed from `renew` on if it was `served`."""

    token: ScopedToken
    expires: float
    renew: float
    served: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the last fetch gave no token.

    The next fetch is at `until`, or as soon as the credential has another fingerprint.
    """

    error: SourceError
    until: float
    fingerprint: str
    failures: int


@dataclass(frozen=True, slots=True)
class Slot:
    """The state of one cloud; `replaced` is when a refused token was last dropped."""

    held: Held | None = None
    trouble: Trouble | None = None
    replaced: float = -math.inf


@dataclass(frozen=True, slots=True)
class ServeToken:
    """Answer with this token; the client may use it for `hold` seconds."""

    token: ScopedToken
    hold: float


@dataclass(frozen=True, slots=True)
class FetchToken:
    """Fetch a new token, then answer."""


CacheDecision = ServeToken | FetchToken | SourceError


def floor(life: float) -> float:
    """The remaining life in seconds below which a token is not served."""
    return min(_LONGEST_FLOOR, life / 4)


def decide(slot: Slot, now: float, refused: str | None, fingerprint: str) -> CacheDecision:
    """How to answer a request; `refused` is the digest of a token that the cloud has refused, or None."""
    held = slot.held
    if held is not None and held.expires - now >= floor(held.token.life):
        if held.token.digest != refused:
            return ServeToken(held.token, held.expires - now - floor(held.token.life) / 2)
        if now - slot.replaced < _REFUSED_AGAIN:
            return SourceError("refused_by_cloud", "the cloud refuses new tokens of its Keystone")
    return _blocked(slot, now, fingerprint) or FetchToken()


def seconds_left(slot: Slot, now: float) -> float | None:
    """Seconds for which the held token is still served; None if there is none."""
    if slot.held is None:
        return None
    seconds = slot.held.expires - floor(slot.held.token.life) - now
    return seconds if seconds >= 0 else None


def renewal_due(slot: Slot, now: float, fingerprint: str) -> bool:
    """Whether to renew the token now: it is in use and expires soon."""
    held = slot.held
    in_use = held is not None and held.served and now >= held.renew
    return in_use and may_fetch(slot, now, fingerprint)


def may_fetch(slot: Slot, now: float, fingerprint: str) -> bool:
    """Whether no recent failure blocks a fetch."""
    return _blocked(slot, now, fingerprint) is None


def without_refused(slot: Slot, now: float, refused: str | None) -> Slot:
    """The slot when a fetch starts: a refused token is no longer served."""
    if slot.held is not None and slot.held.token.digest == refused:
        return replace(slot, held=None, replaced=now)
    return slot


def obtained(slot: Slot, token: ScopedToken, requested: float, jitter: float) -> Slot:
    """The slot with a new token.

    Its life began after it was `requested`, so this errs on the safe side. A `jitter` from 0 to 1
    keeps several clouds or services from renewing at the same time.
    """
    expires = requested + token.life
    renew = expires - floor(token.life) * (1.2 + 0.4 * jitter)
    return replace(slot, held=Held(token, expires, renew), trouble=None)


def failed(slot: Slot, error: SourceError, now: float, jitter: float, fingerprint: str) -> Slot:
    """The slot after a failed fetch; a held token stays."""
    failures = slot.trouble.failures + 1 if slot.trouble is not None else 1
    ceiling = doubled(_FIRST_BACKOFF, failures, _LONGEST_BACKOFF)
    wait = max(error.retry_after, ceiling * (0.5 + jitter / 2))
    until = math.inf if error.permanent else now + wait
    return replace(slot, trouble=Trouble(error, until, fingerprint, failures))


def revoked(error: SourceError, fingerprint: str) -> Slot:
    """The slot after an operator has revoked the login with the secret of this fingerprint."""
    return Slot(trouble=Trouble(error, math.inf, fingerprint, 1))


def revocation(slot: Slot, fingerprint: str) -> SourceError | None:
    """The error, if the login with the secret of this fingerprint was revoked."""
    trouble = slot.trouble
    if trouble is None or (trouble.error.error, trouble.fingerprint) != (REVOKED, fingerprint):
        return None
    return trouble.error


def served(slot: Slot) -> Slot:
    """The slot after its token was served."""
    return slot if slot.held is None else replace(slot, held=replace(slot.held, served=True))


def _blocked(slot: Slot, now: float, fingerprint: str) -> SourceError | None:
    trouble = slot.trouble
    if trouble is None or now >= trouble.until or fingerprint != trouble.fingerprint:
        return None
    return trouble.error
