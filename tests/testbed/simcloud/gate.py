"""Process every call before its service: count it, delay it, and apply outages, limits and faults."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tests.testbed.simcloud.clock import LoopTime
from tests.testbed.simcloud.echo import echoed, echoing_headers
from tests.testbed.simcloud.effects import Answer, Echoes, Effect, Fate, Hang, Reset, Says
from tests.testbed.simcloud.errors import ApiError
from tests.testbed.simcloud.faults import FaultBook
from tests.testbed.simcloud.kinds import ACTIONS
from tests.testbed.simcloud.ratelimit import RateLimit
from tests.testbed.simcloud.settings import CurrentSettings, draw
from tests.testbed.simcloud.transport import ResetConnection, reason

ServiceName = Literal["compute", "identity", "oidc", "image", "network"]


class Outage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The services that are unavailable, and how callers see that."""

    services: list[ServiceName] = []
    looks: Literal["503", "reset"] = "503"


class ActionCall(msgspec.Struct, frozen=True, kw_only=True):
    """One action call: time of arrival (seconds since the epoch) and status of the answer.

    ``status`` is 0 if the connection was reset.
    """

    at: float
    kind: str
    server_id: str
    server: str
    status: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call for a service; ``fate`` is how the work that it starts will end."""

    request: Request
    body: bytes
    fate: Fate | None = None


Handler = Callable[[Call], Response]
Classify = Callable[[Request, bytes], str]


class Service(Protocol):
    """What the gate needs from a service."""

    name: ServiceName

    def refuse(self, error: ApiError) -> Response:
        """Return ``error`` in this service's format."""
        ...

    def server_name(self, server_id: str) -> str | None:
        """Return the name of a server by its id; None if the service has no such server."""
        ...


class Gate:
    """Processes the calls of all services; its counts show what callers really did."""

    def __init__(self, time: LoopTime, dials: CurrentSettings, seed: int) -> None:
        self.faults = FaultBook(random.Random(seed + 1))
        self.outage = Outage()
        self.calls: Counter[str] = Counter()
        self.answers: dict[str, Counter[int]] = {}
        self.action_calls: list[ActionCall] = []
        self._time = time
        self._dials = dials
        self._rng = random.Random(seed + 2)
        self._rate = RateLimit()

    def reset_counts(self) -> None:
        self.calls.clear()
        self.answers.clear()
        self.action_calls.clear()

    def guard(
        self, service: Service, kind: str | Classify, handler: Handler
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint that passes calls of ``kind`` through the gate to ``handler``."""

        async def endpoint(request: Request) -> Response:
            body = await request.body()
            name = kind if isinstance(kind, str) else kind(request, body)
            arrived = self._time.now()
            self.calls[name] += 1
            server_id: str = request.path_params.get("server_id", "")
            server = (service.server_name(server_id) or "") if server_id else ""
            response = await self._pass(service, name, server, Call(request, body), handler)
            status = 0 if isinstance(response, ResetConnection) else response.status_code
            self.answers.setdefault(name, Counter())[status] += 1
            if name in ACTIONS:
                self.action_calls.append(
                    ActionCall(
                        at=arrived, kind=name, server_id=server_id, server=server, status=status
                    )
                )
            if self._dials.now.echoes:
                response = _repeating(response, service, Call(request, body))
            response.headers["Date"] = self._time.http_date()
            return response

        return endpoint

    async def _pass(
        self, service: Service, kind: str, server: str, call: Call, handler: Handler
    ) -> Response:
        def serve(call: Call) -> Response:
            try:
                return handler(call)
            except ApiError as error:
                return service.refuse(error)

        if service.name in self.outage.services:
            return _gone() if self.outage.looks == "reset" else _proxy_page(503, None)
        if service.name == "compute":
            wait = self._rate.take(
                self._time.now(),
                self._dials.now.rate_limit_per_second,
                self._dials.now.rate_limit_burst,
            )
            if wait > 0:
                return service.refuse(ApiError(429, "Too Many Requests", retry_after_seconds=wait))
        latency = draw(self._dials.now.latency_seconds, self._rng)
        if latency > 0:
            await asyncio.sleep(latency)
        effect = self.faults.strike(kind, server)
        if effect is None:
            return serve(call)
        return await _strike(effect, service, call, serve)


async def _strike(  # noqa: C901 - one case for each effect
    effect: Effect, service: Service, call: Call, serve: Handler
) -> Response:
    match effect:
        case Answer():
            if effect.performed:
                serve(call)
            if effect.body == "proxy":
                return _proxy_page(effect.status, effect.retry_after_seconds)
            message = effect.message or _MESSAGES.get(effect.status, "A fault was injected.")
            return service.refuse(
                ApiError(effect.status, message, retry_after_seconds=effect.retry_after_seconds)
            )
        case Says():
            if effect.performed:
                serve(call)
            return Response(effect.text, effect.status, media_type="application/json")
        case Reset():
            if effect.performed:
                serve(call)
            return _gone()
        case Echoes():
            return _echo(effect.status, service, call)
        case Hang():
            if effect.performed:
                response = serve(call)
                await asyncio.sleep(effect.seconds)
                return response
            await asyncio.sleep(effect.seconds)
            return serve(call)
        case fate:
            return serve(Call(call.request, call.body, fate))


def _echo(status: int, service: Service, call: Call) -> Response:
    response = service.refuse(ApiError(status, echoed(call.request.headers, call.body)))
    response.headers.update(echoing_headers(call.request.headers))
    return response


def _repeating(response: Response, service: Service, call: Call) -> Response:
    """The same answer, with the request's secrets in it; our side drops a list with its token in it."""
    headers = echoing_headers(call.request.headers)
    words = echoed(call.request.headers, call.body)
    body = bytes(response.body)
    if service.name != "compute" and body.startswith(b"{"):
        body = msgspec.json.encode({**msgspec.json.decode(body), "debug": words, "message": words})
    kept = {name: v for name, v in response.headers.items() if name != "content-length"}
    # each answer that is not a redirect already
    named = {name: v for name, v in headers.items() if name.lower() not in kept}
    return Response(body, response.status_code, {**kept, **named, **reason(words)})


_MESSAGES = {
    401: "The request you have made requires authentication.",
    403: "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances",
    404: "The resource could not be found.",
    409: "Cannot complete the operation because of a conflict.",
    429: "Too Many Requests",
    500: "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach"
    " the Nova API log if possible.",
    503: "The service is currently unavailable.",
}


def _proxy_page(status: int, retry_after_seconds: float | None) -> Response:
    error = ApiError(status, "", retry_after_seconds=retry_after_seconds)
    headers = {} if error.retry_after is None else {"Retry-After": error.retry_after}
    page = f"<html><body><h1>{status}</h1>\nNo server is available to handle this request.\n</body></html>\n"
    return Response(page, status, headers, media_type="text/html")


def _gone() -> Response:
    return ResetConnection()
