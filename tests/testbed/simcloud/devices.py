"""Device codes (RFC 8628): issued, approved or denied by a user, redeemed once.

Messages and codes of the errors are Keycloak's.
"""

import secrets
from dataclasses import dataclass

from tests.testbed.simcloud.clock import Time
from tests.testbed.simcloud.settings import CurrentSettings

# No vowels and no characters that look alike (RFC 8628, 6.1).
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


class DeviceCodeError(Exception):
    """The code cannot be redeemed, or not yet; ``code`` is the OAuth error code."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


@dataclass(slots=True)
class DeviceCode:
    """``agreed`` is ``None`` until the user has decided; times are seconds since the epoch."""

    value: str
    user_code: str
    client_id: str
    scope: str
    expires: float
    interval: float
    agreed: bool | None = None
    asked: float | None = None


class DeviceCodes:
    """The codes that can still be redeemed."""

    def __init__(self, time: Time, dials: CurrentSettings) -> None:
        self._time = time
        self._dials = dials
        self._codes: dict[str, DeviceCode] = {}

    def begin(self, client_id: str, scope: str) -> DeviceCode:
        """Issue a code."""
        letters = [secrets.choice(_LETTERS) for _ in range(8)]
        now, dials = self._time.now(), self._dials.now
        code = DeviceCode(
            value="sim-device-" + secrets.token_urlsafe(32),
            user_code=f"{''.join(letters[:4])}-{''.join(letters[4:])}",
            client_id=client_id,
            scope=scope,
            expires=now + dials.device_code_seconds,
            interval=dials.device_interval_seconds,
        )
        self._codes[code.value] = code
        return code

    def waiting(self) -> list[DeviceCode]:
        """Return the codes without a decision."""
        return [code for code in self._codes.values() if code.agreed is None]

    def decide(self, user_code: str, *, agree: bool) -> bool:
        """Decide as the user; return whether the code exists."""
        for code in self.waiting():
            if code.user_code == user_code:
                code.agreed = agree
                return True
        return False

    def redeem(self, value: str, client_id: str) -> str:
        """Redeem an approved code; return its scope.

        Raises:
            DeviceCodeError: the code is pending, denied, expired or unknown, or polled too often.
        """
        code = self._codes.get(value)
        if code is None or code.client_id != client_id:
            raise DeviceCodeError("invalid_grant", "Device code not valid")
        now = self._time.now()
        if code.expires <= now:
            raise DeviceCodeError("expired_token", "Device code is expired")
        early = code.asked is not None and now - code.asked < code.interval
        code.asked = now
        if early:
            raise DeviceCodeError("slow_down", "Slow down")
        if code.agreed is None:
            raise DeviceCodeError(
                "authorization_pending", "The authorization request is still pending"
            )
        del self._codes[value]
        if not code.agreed:
            raise DeviceCodeError("access_denied", "The end user denied the authorization request")
        return code.scope
