"""Identify the user of a request, by a login session or by a trusted proxy; log in and log out."""

import hmac
import ipaddress
from collections.abc import Callable, Mapping

import structlog
from starlette.requests import Request
from starlette.responses import Response

from ops.console.operators import EVERYBODY, ConsoleUser, Sessions, digest, is_valid_name
from producers.settings import ConfigError
from producers.trust import UntrustedFileError, read_trusted
from workers.config.tables import ConsoleSettings

_COOKIE = "lamplighter"
_PROXY_SECRET = "X-Lamplighter-Proxy"  # noqa: S105 - a header's name
# The path of the stream of changes, which every open page holds.
STREAM = "/live"


class Authenticator:
    """Identifies users.

    Args:
        settings: the [console] table.
        operators: reads the operators' names by the digests of their tokens; None if there is no
            operators file.
        logouts: reads when sessions were last ended, by user.
        local: whether only this host can connect.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        operators: Callable[[], Mapping[str, str]] | None,
        *,
        local: bool,
        logouts: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._operators = operators
        self._logouts = logouts
        self._proxy = settings.proxy
        self._address = None if self._proxy is None else ipaddress.ip_address(self._proxy.address)
        self._sessions = Sessions()
        login_to_read = settings.login_to_read
        self.login_to_read = not local if login_to_read is None else login_to_read

    @property
    def can_login(self) -> bool:
        """Whether operators with tokens are configured."""
        return self._operators is not None

    def user(self, request: Request) -> ConsoleUser | None:
        """Return the user of a request, or None if the user is unknown."""
        return self._session_user(request) or self._proxy_user(request)

    def may_read(self, request: Request) -> bool:
        """Return whether the request may read pages."""
        return not self.login_to_read or self.user(request) is not None

    def has_session(self, request: Request) -> bool:
        """Return whether the user is known by a login here, not by a proxy."""
        return self._session_user(request) is not None

    def from_form(self, request: Request, csrf: object) -> ConsoleUser | None:
        """Return the user of a request if its form came from a page that was made for that user."""
        user = self.user(request)
        if user is None or not isinstance(csrf, str):
            return None
        return user if hmac.compare_digest(user.csrf.encode(), csrf.encode()) else None

    def drops_cookie(self, request: Request) -> bool:
        """Return whether the browser would drop the login's cookie: it is `Secure` beyond loopback."""
        # a proxy may terminate TLS: only the browser knows the scheme that it used
        return request.headers.get("origin", "").startswith("http:") and not _is_local(request)

    def login(self, token: object, answer: Response, request: Request) -> bool:
        """Log in with an operator's token; return whether the token is known."""
        log = structlog.get_logger()
        if self._operators is None or not isinstance(token, str):
            return False
        try:
            name = self._operators().get(digest(token.strip()))
            logouts = self._logouts_of(name)
        except (ConfigError, OSError) as error:
            log.error("console_operators_unreadable", error=str(error))  # noqa: TRY400 - the message is enough
            return False
        peer = request.client.host if request.client else None
        if name is None:
            log.warning("console_login_refused", peer=peer)
            return False
        log.info("console_login", user=name, peer=peer)
        self.logout(request, answer)
        answer.set_cookie(
            _COOKIE,
            self._sessions.open(name, digest(token.strip()), logouts),
            httponly=True,
            samesite="strict",
            secure=not _is_local(request),
        )
        return True

    def logout(self, request: Request, answer: Response) -> None:
        """Close the session and delete its cookie."""
        self._sessions.close(request.cookies.get(_COOKIE, ""))
        answer.delete_cookie(_COOKIE)

    def _session_user(self, request: Request) -> ConsoleUser | None:
        """Return the user of an open session; it ends with its operator, and with a logout."""
        cookie, by_person = request.cookies.get(_COOKIE), _is_by_person(request)
        held = None if cookie is None else self._sessions.session(cookie, is_active=by_person)
        if cookie is None or held is None or self._operators is None:
            return None
        try:
            stays = held.logouts == self._logouts_of(held.name)
            if stays and self._operators().get(held.login) == held.name:
                return ConsoleUser(held.name, self._sessions.csrf(cookie))
        except (ConfigError, OSError) as error:
            structlog.get_logger().error("console_operators_unreadable", error=str(error))
            return None
        self._sessions.close(cookie)
        return None

    def _logouts_of(self, name: str | None) -> tuple[int, int]:
        """The last logout of a user, and of everybody."""
        logouts = self._logouts()
        return logouts.get(name or "", 0), logouts.get(EVERYBODY, 0)

    def _proxy_user(self, request: Request) -> ConsoleUser | None:
        """Return the user that the proxy names; its address alone proves nothing on a shared host."""
        if self._proxy is None or request.client is None:
            return None
        names = request.headers.getlist(self._proxy.header)
        secrets = request.headers.getlist(_PROXY_SECRET)
        if len(names) != 1 or len(secrets) != 1 or not is_valid_name(names[0]):
            return None
        if ipaddress.ip_address(request.client.host) != self._address:
            return None
        try:
            expected = read_trusted(self._proxy.secret_file, private=True).strip()
        except (OSError, UnicodeDecodeError, UntrustedFileError) as error:
            structlog.get_logger().error("console_proxy_secret_unusable", error=str(error))
            return None
        if not expected or not hmac.compare_digest(secrets[0].encode(), expected.encode()):
            return None
        return ConsoleUser(names[0], self._sessions.csrf(f"proxy:{names[0]}"))


def _is_by_person(request: Request) -> bool:
    """Whether a request is a sign of an active user: a page also connects and reloads by itself.

    Browsers mark what a person does with Sec-Fetch-User (w3.org/TR/fetch-metadata).
    """
    if request.url.path == STREAM:
        return False
    return "sec-fetch-mode" not in request.headers or request.headers.get("sec-fetch-user") == "?1"


def _is_local(request: Request) -> bool:
    return request.url.hostname in {"localhost", "127.0.0.1", "::1"}
