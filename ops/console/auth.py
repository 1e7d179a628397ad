"""Who asks: by the cookie of a login, or by what a trusted proxy says. Effects of logging in."""

import hmac
import ipaddress
from collections.abc import Callable, Mapping

import structlog
from starlette.requests import Request
from starlette.responses import Response

from ops.console.people import Person, Sessions, digest, is_person
from producers.settings import ConfigError
from workers.config.tables import ConsoleSettings

_COOKIE = "lamplighter"


class Authenticator:
    """Lets people in.

    Args:
        settings: of the console.
        operators: reads names by digests of tokens, anew for each login; None for nobody.
        local: whether only this host can connect.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        operators: Callable[[], Mapping[str, str]] | None,
        *,
        local: bool,
    ) -> None:
        self._operators = operators
        self._proxy = settings.proxy
        self._address = None if self._proxy is None else ipaddress.ip_address(self._proxy.address)
        self._sessions = Sessions()
        wanted = settings.login_to_read
        self.login_to_read = not local if wanted is None else wanted

    @property
    def can_login(self) -> bool:
        """Whether anybody has a token."""
        return self._operators is not None

    def who(self, request: Request) -> Person | None:
        """Who asks, if that is known."""
        return self._by_session(request) or self._by_proxy(request)

    def by_session(self, request: Request) -> bool:
        """Whether it is by a login here that we know who asks."""
        return self._by_session(request) is not None

    def same(self, person: Person, csrf: object) -> bool:
        """Whether a form came from a page that was made for this person."""
        return isinstance(csrf, str) and hmac.compare_digest(person.csrf.encode(), csrf.encode())

    def would_not_last(self, request: Request) -> bool:
        """Whether the browser would drop the cookie of a login, which is `Secure` beyond loopback."""
        # a proxy may have spoken TLS for us: only the browser knows by what it came
        return request.headers.get("origin", "").startswith("http:") and not _is_local(request)

    def open(self, token: object, answer: Response, request: Request) -> bool:
        """Log in with an operator's token; whether it is known."""
        log = structlog.get_logger()
        if self._operators is None or not isinstance(token, str):
            return False
        try:
            name = self._operators().get(digest(token.strip()))
        except ConfigError as error:
            log.error("console_login_impossible", error=str(error))  # noqa: TRY400 - the words say it all
            return False
        peer = request.client.host if request.client else None
        if name is None:
            log.warning("console_login_refused", peer=peer)
            return False
        log.info("console_login", person=name, peer=peer)
        self.close(request, answer)
        answer.set_cookie(
            _COOKIE,
            self._sessions.open(name),
            httponly=True,
            samesite="strict",
            secure=not _is_local(request),
        )
        return True

    def close(self, request: Request, answer: Response) -> None:
        """Log out."""
        self._sessions.close(request.cookies.get(_COOKIE, ""))
        answer.delete_cookie(_COOKIE)

    def _by_session(self, request: Request) -> Person | None:
        value = request.cookies.get(_COOKIE)
        return None if value is None else self._sessions.person(value)

    def _by_proxy(self, request: Request) -> Person | None:
        if self._proxy is None or request.client is None:
            return None
        named = request.headers.getlist(self._proxy.header)
        if len(named) != 1 or not is_person(named[0]):
            return None
        if ipaddress.ip_address(request.client.host) != self._address:
            return None
        return Person(named[0], self._sessions.csrf(f"proxy:{named[0]}"))


def _is_local(request: Request) -> bool:
    return request.url.hostname in {"localhost", "127.0.0.1", "::1"}
