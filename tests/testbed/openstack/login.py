"""What tests do at the OpenID provider beside its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.testbed.openstack.api import TIMEOUT_SECONDS, checked, session

if TYPE_CHECKING:
    from tests.testbed.openstack.layout import Layout


class LoginControl:
    """The OpenID provider's addresses and test handles."""

    def __init__(self, layout: Layout) -> None:
        self._root = layout.url("oidc")
        self.issuer = layout.issuer
        self.token_endpoint = f"{self.issuer}/protocol/openid-connect/token"
        self.device_endpoint = f"{self.issuer}/protocol/openid-connect/auth/device"

    def mint_refresh_token(self) -> str:
        """Log the person in at the public client; return the first refresh token."""
        return str(self._tell("POST", "refresh-tokens")["refresh_token"])

    def approve_device(self, user_code: str) -> bool:
        """Do what the person does who was shown this code; return whether it exists."""
        return bool(
            self._tell("POST", "device-codes/approve", {"user_code": user_code})["approved"]
        )

    def revoke_grants(self) -> int:
        """Revoke every login: refresh tokens and access tokens are bad for good."""
        return int(self._tell("DELETE", "grants")["revoked"])

    def expire_access_tokens(self) -> int:
        """Make every access token bad; refresh tokens stay good."""
        return int(self._tell("DELETE", "access-tokens")["expired"])

    def set_login(
        self,
        *,
        access_token_seconds: int | None = None,
        refresh_token_seconds: int | None = None,
        rotate_refresh_tokens: bool | None = None,
    ) -> None:
        """Change how long tokens live that are given out from now on, or their rotation."""
        changes = {
            "access_token_seconds": access_token_seconds,
            "refresh_token_seconds": refresh_token_seconds,
            "rotate_refresh_tokens": rotate_refresh_tokens,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        self._tell("PATCH", "settings", given)

    def issued_secrets(self) -> list[str]:
        """Every token that the provider has issued so far, to look for where none may be."""
        tokens: list[str] = self._tell("GET", "secrets")
        return tokens

    def login_counts(self) -> dict[str, int]:
        """Return the calls since the start, by path below the issuer."""
        counts: dict[str, int] = self._tell("GET", "counts")
        return counts

    def _tell(self, method: str, handle: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        url = f"{self._root}/_test/{handle}"
        with session() as http:
            return checked(http.request(method, url, json=body, timeout=TIMEOUT_SECONDS)).json()
