"""Check every request before a page sees it, and add the security headers to every answer.

The Host header must name this console: a page whose host name an attacker resolves to 127.0.0.1 (DNS
rebinding) sends its own. Starlette's TrustedHostMiddleware ignores the port, which tells one console on
a host from another service there. No page loads from or sends to another origin, can be framed or is
cached.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.numbers import whole_number

_MAX_BODY_BYTES = 1_000_000
_FORM = "application/x-www-form-urlencoded"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class RequestGuard:
    """The outermost ASGI middleware; `hosts` are the allowed Host headers, in lower case."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        app = self._app if refusal is None else refusal
        await app(scope, receive, _with_headers(send, scope["path"]))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse(
                "This console does not serve that host name; add it to console.hosts.\n", 421
            )
        if scope["method"] in {"GET", "HEAD"}:
            return None
        # Browsers send a form's origin: a POST without it is forged, or not from a browser.
        origin = _host_of(headers.get("origin", ""))
        if origin != hosts[0].lower() or headers.get("sec-fetch-site") == "cross-site":
            return PlainTextResponse("This form came from another site.\n", 403)
        length = whole_number(headers.get("content-length", ""), most=_MAX_BODY_BYTES)
        if length is None or "transfer-encoding" in headers:  # beside which a length means nothing
            return PlainTextResponse("The form is too long.\n", 413)
        # a multipart form names its encoding: some take minutes to read, and all others wait
        if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            return PlainTextResponse(f"A form must be {_FORM}.\n", 415)
        return None


def _host_of(origin: str) -> str:
    """Host and port of a URL, in lower case; empty if it is no URL."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _with_headers(send: Send, path: str) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            static = path.startswith("/static/")
            headers["Cache-Control"] = "no-cache" if static else "no-store"
        await send(message)

    return sent


def host_names(listen: tuple[str, int], more: Collection[str]) -> set[str]:
    """Return the allowed Host headers: this host's own names with the port, and those in `more`."""
    host, port = listen
    own = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
    names = {f"{name}:{port}".lower() for name in own}
    return names | {name.lower() for name in more}
