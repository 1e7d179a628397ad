"""The console as an ASGI application: routes and handlers. Blocking work runs in threads."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ops.console.auth import STREAM, Authenticator
from ops.console.dead_letters import DeadLetterPages
from ops.console.live import Live
from ops.console.operators import ConsoleUser
from ops.console.pages import Page, Pages
from ops.console.reader import AWAY_ERRORS, describe_away
from ops.console.request_guard import RequestGuard
from ops.console.view import SiteView
from schemas.numbers import whole_number

_BAD_REQUEST = 400
_FORBIDDEN = 403
_NOT_FOUND = 404
_UNAVAILABLE = 503
_MAX_FIELDS = 100_000


@dataclass(frozen=True)
class Console:
    """The routes and handlers; `cluster` is shown on every page."""

    templates: Environment
    live: Live
    auth: Authenticator
    pages: Pages
    dead_letters: DeadLetterPages
    act_on_holds: Callable[[str, Mapping[str, str]], None]
    cluster: str

    def asgi(self, hosts: set[str]) -> ASGIApp:
        """Return the application; it serves only these Host headers."""
        routes = [
            Route("/", self._home),
            Route(STREAM, self._stream),
            Route("/nodes/{name:path}", self._page(self.pages.node)),
            Route("/requests/{id:path}", self._page(self.pages.request)),
            Route("/jobs/{job:path}", self._page(self.pages.job)),
            Route("/attention", self._page(self.pages.attention)),
            Route("/holds", self._hold, methods=["POST"]),
            Route("/events", self._page(self.pages.events)),
            Route("/report", self._page(self.pages.report)),
            Route("/dead-letters", self._letters),
            Route("/dead-letters/act", self._act, methods=["POST"]),
            Route("/dead-letters/{id:path}", self._letters),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=str(files("ops.console") / "static"))),
        ]
        handlers: dict[Any, Any] = {
            _NOT_FOUND: self._missing,
            **dict.fromkeys(AWAY_ERRORS, self._unavailable),
        }
        app = Starlette(routes=routes, exception_handlers=handlers)
        return RequestGuard(app, hosts)

    async def _home(self, request: Request) -> Response:
        if not self.auth.may_read(request):
            return _to_login(request)
        await run_in_threadpool(self.live.refresh)
        number, view = self.live.now
        return self._show(request, "lamps.html", {"number": number, "view": view, "page": "/"})

    async def _stream(self, request: Request) -> Response:
        if not self.auth.may_read(request):
            return Response(status_code=_FORBIDDEN)
        text = request.headers.get("last-event-id") or request.query_params.get("since", "")
        since, known = whole_number(text) or 0, self.auth.user(request) is not None

        def allowed() -> bool:
            """A stream ends with its session, though it does not show that its user is there."""
            user = self.auth.user(request)
            return (user is not None) if known else not self.auth.login_to_read

        stream = self.live.watch(since, known=known, allowed=allowed)
        return StreamingResponse(stream, media_type="text/event-stream")

    def _page(self, make: Callable[..., Page]) -> Callable[..., Any]:
        async def answer(request: Request) -> Response:
            arguments = *request.path_params.values(), request.query_params
            return await self._answer(request, partial(make, *arguments))

        return answer

    async def _letters(self, request: Request) -> Response:
        user, letters = self.auth.user(request), self.dead_letters
        make = partial(letters.all, user.name if user else "")
        if id_ := request.path_params.get("id"):
            make = partial(letters.one, id_, whole=user is not None)
        return await self._answer(request, make)

    async def _answer(self, request: Request, make: Callable[[], Page]) -> Response:
        if not self.auth.may_read(request):
            return _to_login(request)
        try:
            name, values = await run_in_threadpool(make)
        except LookupError as error:
            return self._problem(request, _NOT_FOUND, "Not found", str(error.args[0]))
        return self._show(request, name, values)

    async def _act(self, request: Request) -> Response:
        async def act(user: ConsoleUser, form: FormData) -> Response:
            items = form.multi_items()
            name, values = await run_in_threadpool(self.dead_letters.act, user.name, items)
            if not name:
                return RedirectResponse("/dead-letters", 303)
            return self._show(request, name, values)

        return await self._for_user(request, act)

    async def _hold(self, request: Request) -> Response:
        async def act(user: ConsoleUser, form: FormData) -> Response:
            fields = {name: str(value).strip() for name, value in form.multi_items()}
            try:
                await run_in_threadpool(self.act_on_holds, user.name, fields)
            except ValueError as error:
                return self._problem(request, _BAD_REQUEST, "Not done", str(error))
            return RedirectResponse(_own_path(fields.get("to")), 303)

        return await self._for_user(request, act)

    async def _for_user(
        self, request: Request, act: Callable[[ConsoleUser, FormData], Awaitable[Response]]
    ) -> Response:
        """Act on a form, if a page made it for the user who sends it."""
        form = await request.form(max_files=0, max_fields=_MAX_FIELDS)
        user = self.auth.from_form(request, form.get("csrf"))
        if user is None:
            words = "Log in first, then try again."
            return self._problem(request, _FORBIDDEN, "Not allowed", words)
        return await act(user, form)

    async def _login(self, request: Request) -> Response:
        if not self.auth.can_login:
            words = "Login is disabled: console.operators_file is not set."
            return self._problem(request, _FORBIDDEN, "Read only", words)
        if request.method != "POST":  # a HEAD too: whatever it carries was not checked
            to = _own_path(request.query_params.get("to"))
            return self._show(request, "login.html", {"problem": None, "to": to})
        form = await request.form(max_files=0, max_fields=10)
        to = _own_path(form.get("to"))
        answer = RedirectResponse(to, 303)
        problem = "This token is unknown."
        if self.auth.drops_cookie(request):
            problem = (
                "Browsers keep no login over plain HTTP. Use HTTPS, through a proxy that terminates it "
                "(docs/configuration.md), or ssh -L and 127.0.0.1."
            )
        elif await run_in_threadpool(self.auth.login, form.get("token"), answer, request):
            return answer
        return self._show(request, "login.html", {"problem": problem, "to": to}, _FORBIDDEN)

    async def _logout(self, request: Request) -> Response:
        form = await request.form(max_files=0, max_fields=10)
        answer = RedirectResponse("/", 303)
        if self.auth.from_form(request, form.get("csrf")) is not None:
            self.auth.logout(request, answer)
        return answer

    def _show(
        self, request: Request, template: str, values: dict[str, Any], status: int = 200
    ) -> Response:
        shared = {
            "page": request.url.path,
            "view": self.live.now[1] if self.auth.may_read(request) else SiteView(0),
            "cluster": self.cluster,
            "user": self.auth.user(request),
            "can_login": self.auth.can_login,
            "can_logout": self.auth.has_session(request),
        }
        html = self.templates.get_template(template).render(shared | values)
        return HTMLResponse(html, status)

    def _problem(self, request: Request, status: int, title: str, words: str) -> Response:
        values = {"title": title, "words": words, "status": status}
        return self._show(request, "problem.html", values, status)

    async def _unavailable(self, request: Request, error: Exception) -> Response:
        return self._problem(request, _UNAVAILABLE, "Unavailable", describe_away(error))

    async def _missing(self, request: Request, _error: Exception) -> Response:
        if not self.auth.may_read(request):
            return _to_login(request)
        return self._problem(request, _NOT_FOUND, "Not found", "This page does not exist.")


def _to_login(request: Request) -> Response:
    return RedirectResponse(f"/login?to={quote(request.url.path)}", 303)


def _own_path(to: object) -> str:
    """Return the page to open after a login: a path of this console, never another site."""
    if isinstance(to, str) and to.startswith("/") and not to.startswith(("//", "/\\")):
        return quote(to, safe="/:%")
    return "/"
