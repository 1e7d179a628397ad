"""Test operations of the OpenID provider, in addition to its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.testbed.openstack.api import TIMEOUT_SECONDS, checked, session

if TYPE_CHECKING:
    from tests.testbed.openstack.layout import Layout


class LoginControl:
    """Addresses and test operations of the OpenID provider."""

    def __init__(self, layout: Layout) -> None:
        self._root = layout.url("oidc")
        self.issuer = layout.issuer
        self.token_endpoint = f"{self.issuer}/protocol/openid-connect/token"
        self.device_endpoint = f"{self.issuer}/protocol/openid-connect/auth/device"

    def mint_refresh_token(self) -> str:
        """Log the user in at the public client; return the first refresh token."""
        return str(self._tell("POST", "refresh-tokens")["refresh_token"])

    def approve_device(self, user_code: str) -> bool:
        """Approve this code as the user would; return whether it exists."""
        return bool(
            self._tell("POST", "device-codes/approve", {"user_code": user_code})["approved"]
        )

    def revoke_grants(self) -> int:
        """Revoke all logins: their refresh and access tokens become invalid for ever."""
        return int(self._tell("DELETE", "grants")["revoked"])

    def expire_access_tokens(self) -> int:
        """Expire all access tokens; refresh tokens stay valid."""
        return int(self._tell("DELETE", "access-tokens")["expired"])

    def set_login(
        self,
        *,
        access_token_seconds: int | None = None,
        refresh_token_seconds: int | None = None,
        rotate_refresh_tokens: bool | None = None,
    ) -> None:
        """Change the lifetimes of new tokens, or the rotation of refresh tokens."""
        changes = {
            "access_token_seconds": access_token_seconds,
            "refresh_token_seconds": refresh_token_seconds,
            "rotate_refresh_tokens": rotate_refresh_tokens,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        self._tell("PATCH", "settings", given)

    def issued_secrets(self) -> list[str]:
        """All tokens that the provider has issued so far, for searches for leaked secrets."""
        tokens: list[str] = self._tell("GET", "secrets")
        return tokens

    def _tell(self, method: str, handle: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        url = f"{self._root}/_test/{handle}"
        with session() as http:
            return checked(http.request(method, url, json=body, timeout=TIMEOUT_SECONDS)).json()
