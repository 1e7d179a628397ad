"""Decides when a refresh token needs care although no worker requests a token. Pure; times are ns."""

from dataclasses import dataclass
from datetime import UTC, datetime

from workers.tokens.errors import SourceError

NS = 1_000_000_000
DAY = 86_400 * NS
WARN_DAYS = (1, 7, 14, 30)
# Providers end unused logins; Keycloak's default is after 30 days.
_LONGEST_IDLE = 7 * DAY


@dataclass(frozen=True, slots=True)
class RefreshTokenState:
    """When a cloud's refresh token was last used, and when it expires.

    None is for never used; and for no or an unknown time at which the provider stops accepting it.
    """

    used: int | None = None
    expires: int | None = None


@dataclass(frozen=True, slots=True)
class TokenExpiry:
    """A warning to operators that a login ends; warnings with the same key are one."""

    key: str
    error: SourceError


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is due: a use of the login, a warning about its end."""

    use: bool = False
    expiry: TokenExpiry | None = None


def due_for_use(state: RefreshTokenState, now: int) -> bool:
    """Whether to use the token although no worker needs it.

    At once if it was never used, or at a time that has yet to come, because the clock was set back; then
    weekly, or more often if its life is short; and daily near its end, because only a use shows whether
    use postpones the end.
    """
    if state.used is None or state.used > now:
        return True
    longest = _LONGEST_IDLE
    if state.expires is not None:
        longest = min(longest, (state.expires - state.used) // 2)
        if state.expires - now <= (WARN_DAYS[-1] + 1) * DAY:
            longest = min(longest, DAY)
    return now - state.used >= longest


def fixed_end(before: RefreshTokenState, after: RefreshTokenState) -> int | None:
    """The end of the login if one use has shown that use does not postpone it; else None."""
    if before.used is None or before.expires is None:
        return None
    if after.used is None or after.expires is None:
        return None
    moved, passed = after.expires - before.expires, after.used - before.used
    return after.expires if 2 * moved < passed else None


def expiry_warning(end: int, now: int, remedy: str) -> TokenExpiry | None:
    """The warning about a login that ends at `end`: one for each of WARN_DAYS."""
    reached = [days for days in WARN_DAYS if end - now <= days * DAY]
    if not reached:
        return None
    when = datetime.fromtimestamp(end // NS, UTC)
    return TokenExpiry(
        # rounded to hours: the end that the provider gives at each use varies by seconds
        key=f"login_ends/{when:%Y-%m-%d %H}/{reached[0]} days",
        error=SourceError(
            "login_ends",
            f"the login at the provider ends on {when:%Y-%m-%d %H:%M} UTC"
            f" (less than {reached[0]} days left)",
            remedy=remedy,
        ),
    )
