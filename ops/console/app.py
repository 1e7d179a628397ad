"""The console as an ASGI application: which page is where. Handlers that wait run in threads."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ops.cli.errors import explain
from ops.console.auth import Authenticator
from ops.console.dead_letters import DeadLetterPages
from ops.console.live import Live
from ops.console.pages import Page, Pages
from ops.console.reader import AWAY_WORDS
from ops.console.request_guard import RequestGuard
from ops.console.view import SiteView

_AWAY = 503
_NOT_FOUND = 404


class Console:
    """The pages.

    Args:
        templates: how they look.
        live: the site.
        door: who may what.
        pages: what is only read.
        letters: what a person decides on.
        cluster: the site's name.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one per part
        self,
        templates: Environment,
        live: Live,
        door: Authenticator,
        pages: Pages,
        letters: DeadLetterPages,
        cluster: str,
    ) -> None:
        self._templates = templates
        self._live = live
        self._door = door
        self._pages = pages
        self._letters = letters
        self._cluster = cluster

    def asgi(self, hosts: set[str]) -> ASGIApp:
        """The application, guarded."""
        routes = [
            Route("/", self._lamps),
            Route("/live", self._stream),
            Route("/nodes/{name:path}", self._page(self._pages.node)),
            Route("/requests/{id:path}", self._page(self._pages.request)),
            Route("/events", self._page(self._pages.events)),
            Route("/report", self._page(self._pages.report)),
            Route("/dead-letters", self._all_letters),
            Route("/dead-letters/act", self._act, methods=["POST"]),
            Route("/dead-letters/{id:path}", self._letter),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=str(files("ops.console") / "static"))),
        ]
        return RequestGuard(
            Starlette(routes=routes, exception_handlers={404: self._missing}), hosts
        )

    async def _lamps(self, request: Request) -> Response:
        if self._shut(request):
            return self._to_login(request)
        await run_in_threadpool(self._live.freshen)
        number, view = self._live.now
        return self._show(request, "lamps.html", {"number": number, "view": view, "page": "/"})

    async def _stream(self, request: Request) -> Response:
        if self._shut(request):
            return Response(status_code=403)
        asked = request.headers.get("last-event-id") or request.query_params.get("since", "")
        since = int(asked) if asked.isascii() and asked.isdecimal() else 0
        return StreamingResponse(self._live.watch(since), media_type="text/event-stream")

    def _page(self, make: Callable[..., Page]) -> Callable[..., Any]:
        async def answer(request: Request) -> Response:
            asked = *request.path_params.values(), request.query_params
            return await self._answer(request, partial(make, *asked))

        return answer

    async def _all_letters(self, request: Request) -> Response:
        person = self._door.who(request)
        name = "" if person is None else person.name
        return await self._answer(request, partial(self._letters.all, name))

    async def _letter(self, request: Request) -> Response:
        whole = self._door.who(request) is not None
        asked = request.path_params["id"]
        return await self._answer(request, partial(self._letters.one, asked, whole=whole))

    async def _answer(self, request: Request, make: Callable[[], Page]) -> Response:
        if self._shut(request):
            return self._to_login(request)
        try:
            name, values = await run_in_threadpool(make)
        except LookupError as error:
            return self._problem(request, _NOT_FOUND, "Not found", str(error.args[0]))
        except AWAY_WORDS as error:
            return self._away(request, error)
        return self._show(request, name, values)

    async def _act(self, request: Request) -> Response:
        form = await request.form(max_files=0, max_fields=100_000)
        person = self._door.who(request)
        if person is None or not self._door.same(person, form.get("csrf")):
            return self._problem(request, 403, "Not allowed", "Log in first, then try again.")
        try:
            name, values = await run_in_threadpool(
                self._letters.act, person.name, form.multi_items()
            )
        except AWAY_WORDS as error:
            return self._away(request, error)
        if name == "":
            return RedirectResponse("/dead-letters", 303)
        return self._show(request, name, values)

    async def _login(self, request: Request) -> Response:
        if not self._door.can_login:
            return self._problem(
                request, 403, "Read only", "Nobody may log in: console.operators_file is not set."
            )
        if request.method == "GET":
            to = _within(request.query_params.get("to"))
            return self._show(request, "login.html", {"problem": None, "to": to})
        form = await request.form(max_files=0, max_fields=10)
        to = _within(form.get("to"))
        if self._door.would_not_last(request):
            words = (
                "Over plain HTTP browsers keep no login. Come by HTTPS, through a proxy that speaks it "
                "(docs/configuration.md), or by ssh -L as 127.0.0.1."
            )
            return self._show(request, "login.html", {"problem": words, "to": to}, 403)
        answer = RedirectResponse(to, 303)
        if not await run_in_threadpool(self._door.open, form.get("token"), answer, request):
            words = "That token is not known."
            return self._show(request, "login.html", {"problem": words, "to": to}, 403)
        return answer

    async def _logout(self, request: Request) -> Response:
        form = await request.form(max_files=0, max_fields=10)
        person = self._door.who(request)
        answer = RedirectResponse("/", 303)
        if person is not None and self._door.same(person, form.get("csrf")):
            self._door.close(request, answer)
        return answer

    def _to_login(self, request: Request) -> Response:
        return RedirectResponse(f"/login?to={quote(request.url.path)}", 303)

    def _shut(self, request: Request) -> bool:
        return self._door.login_to_read and self._door.who(request) is None

    def _show(
        self, request: Request, template: str, values: dict[str, Any], status: int = 200
    ) -> Response:
        view = SiteView(0) if self._shut(request) else self._live.now[1]
        values = {"page": request.url.path, "view": view, **values}
        html = self._templates.get_template(template).render(
            cluster=self._cluster,
            person=self._door.who(request),
            can_login=self._door.can_login,
            can_logout=self._door.by_session(request),
            **values,
        )
        return HTMLResponse(html, status)

    def _problem(self, request: Request, status: int, title: str, words: str) -> Response:
        values = {"title": title, "words": words, "status": status}
        return self._show(request, "problem.html", values, status)

    def _away(self, request: Request, error: Exception) -> Response:
        explained = explain(error)
        words = explained[0] if explained else type(error).__name__
        return self._problem(request, _AWAY, "Away", words)

    async def _missing(self, request: Request, _error: Exception) -> Response:
        with suppress(LookupError):
            if self._shut(request):
                return self._to_login(request)
        return self._problem(request, _NOT_FOUND, "Not found", "There is no such page.")


def _within(to: object) -> str:
    """Where to go after a login: a page of ours, whatever a link has said."""
    ours = isinstance(to, str) and to.startswith("/") and not to.startswith(("//", "/\\"))
    return quote(to, safe="/:%") if ours and isinstance(to, str) else "/"
