"""The care a refresh token needs even when nobody asks for a token: pure. Times are ns."""

from dataclasses import dataclass
from datetime import UTC, datetime

from workers.tokens.errors import SourceError

NS = 1_000_000_000
DAY = 86_400 * NS
WARN_DAYS = (1, 7, 14, 30)
# Providers end logins that nobody uses: Keycloak's default is 30 days.
_LONGEST_IDLE = 7 * DAY


@dataclass(frozen=True, slots=True)
class RefreshTokenState:
    """How a cloud's refresh token stands.

    Attributes:
        used: when it was last used; None for never.
        expires: when the provider will take it no longer; None for never or not known.
    """

    used: int | None = None
    expires: int | None = None


@dataclass(frozen=True, slots=True)
class TokenExpiry:
    """What people must hear of a login that ends; two with the same key are one."""

    key: str
    error: SourceError


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is due: to use the login now, to tell people of its end."""

    use: bool = False
    ending: TokenExpiry | None = None


def due_for_use(standing: RefreshTokenState, now: int) -> bool:
    """Whether to use the token though nobody needs it.

    At once where it was never used, then weekly, more often where its life is short; and daily
    toward its end, because only a use shows whether use puts the end off.
    """
    if standing.used is None:
        return True
    longest = _LONGEST_IDLE
    if standing.expires is not None:
        longest = min(longest, (standing.expires - standing.used) // 2)
        if standing.expires - now <= (WARN_DAYS[-1] + 1) * DAY:
            longest = min(longest, DAY)
    return now - standing.used >= longest


def fixed_end(before: RefreshTokenState, after: RefreshTokenState) -> int | None:
    """When the login ends whatever we do, as far as one use of it shows; else None."""
    if before.used is None or before.expires is None:
        return None
    if after.used is None or after.expires is None:
        return None
    moved, passed = after.expires - before.expires, after.used - before.used
    return after.expires if 2 * moved < passed else None


def ending(end: int, now: int, remedy: str) -> TokenExpiry | None:
    """The warning about a login that ends at `end`: one at each of WARN_DAYS."""
    reached = [days for days in WARN_DAYS if end - now <= days * DAY]
    if not reached:
        return None
    when = datetime.fromtimestamp(end // NS, UTC)
    return TokenExpiry(
        # rounded to hours: the end that is said at each use varies by seconds
        key=f"login_ends/{when:%Y-%m-%d %H}/{reached[0]} days",
        error=SourceError(
            "login_ends",
            f"the login at the provider ends on {when:%Y-%m-%d %H:%M} UTC"
            f" (less than {reached[0]} days left)",
            remedy=remedy,
        ),
    )
