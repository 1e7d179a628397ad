"""What stands before every page: which host was asked for, and what the browser may do with it.

A page of somebody else's whose name was made to point at 127.0.0.1 (DNS rebinding) asks for its own
host: it is refused. No page loads or sends anything elsewhere, is framed, or is kept by a cache.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LONGEST_BODY = 1_000_000
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
    """The outermost layer.

    Args:
        app: what is guarded.
        hosts: what a Host header may be, in lower case, with the port where there is one.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what may be."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        app = self._app if refusal is None else refusal
        await app(scope, receive, _with_headers(send, scope["path"]))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        asked = headers.getlist("host")
        if len(asked) != 1 or asked[0].lower() not in self._hosts:
            return PlainTextResponse(
                "This console does not answer to that name; add it to console.hosts.\n", 421
            )
        if scope["method"] in {"GET", "HEAD"}:
            return None
        # Browsers say where a form came from; a POST without that is no browser's, or forged.
        origin = urlsplit(headers.get("origin", ""))
        if (
            origin.netloc.lower() != asked[0].lower()
            or headers.get("sec-fetch-site") == "cross-site"
        ):
            return PlainTextResponse("This form came from elsewhere.\n", 403)
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _LONGEST_BODY:
            return PlainTextResponse("Too long.\n", 413)
        return None


def _with_headers(send: Send, path: str) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            kept = path.startswith("/static/")
            headers["Cache-Control"] = "no-cache" if kept else "no-store"
        await send(message)

    return sent


def host_names(listen: tuple[str, int], more: Collection[str]) -> set[str]:
    """What a Host header may be: this host's own names with the port, and those configured."""
    host, port = listen
    own = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
    names = {f"{name}:{port}".lower() for name in own}
    return names | {name.lower() for name in more}
