"""The control API under ``/_sim``, for tests and the demo."""

from collections import Counter
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.errors import ApiError, BadRequestError, ForbiddenError, NotFoundError
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.gate import Outage
from tests.testbed.simcloud.model import VM_STATES_BY_STATUS, Server
from tests.testbed.simcloud.model import Fault as ServerFault
from tests.testbed.simcloud.settings import HookSpec, ServerSpec
from tests.testbed.simcloud.simulation import Simulation
from tests.testbed.simcloud.web import json_response
from tests.testbed.simcloud.wire import (
    Counts,
    DeviceDecision,
    DeviceLogin,
    FaultInForce,
    HookState,
    ImageInfo,
    LedgerEntry,
    ServerChange,
    ServerInfo,
    ServerNames,
    State,
)

_Shape = TypeVar("_Shape")
_Handler = Callable[[Request, bytes], object]
_LOOPBACK = {"127.0.0.1", "::1"}


class ControlApi:
    """Answers with the structs of ``wire``; a malformed body gets 400 with the name of the field."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, _Handler]] = [
            ("GET", "/state", self._state),
            ("PATCH", "/settings", self._change_settings),
            ("GET", "/servers", self._servers),
            ("POST", "/servers", self._add_servers),
            ("PATCH", "/servers", self._change_servers),
            ("GET", "/images", self._images),
            ("POST", "/servers/remove", self._remove_servers),
            ("POST", "/faults", self._add_fault),
            ("DELETE", "/faults", self._clear_faults),
            ("DELETE", "/faults/{number:int}", self._remove_fault),
            ("PUT", "/outage", self._set_outage),
            ("GET", "/counts", self._counts),
            ("DELETE", "/counts", self._reset_counts),
            ("GET", "/ledger", self._ledger),
            ("PUT", "/hook", self._set_hook),
            ("POST", "/tokens/revoke", self._revoke_tokens),
            ("POST", "/grants/revoke", self._revoke_grants),
            ("POST", "/access-tokens/expire", self._expire_access_tokens),
            ("POST", "/refresh-tokens", self._mint_refresh_token),
            ("GET", "/device-codes", self._device_codes),
            ("POST", "/device-codes", self._decide_device),
            ("GET", "/secrets", self._secrets),
        ]
        return [
            Route(f"/_sim{path}", _endpoint(handler), methods=[method])
            for method, path, handler in table
        ]

    def _state(self, _request: Request, _body: bytes) -> State:
        sim = self._sim
        servers = list(sim.compute.all())
        hook = sim.hook
        return State(
            now=sim.time.now(),
            statuses=dict(Counter(s.status for s in servers if s.task_state is None)),
            tasks=dict(Counter(s.task_state for s in servers if s.task_state is not None)),
            settings=sim.dials.now,
            outage=sim.gate.outage,
            faults=[
                FaultInForce(number=number, fault=fault, left=left)
                for number, (fault, left) in sim.gate.faults.in_force().items()
            ],
            hook=HookState(pending=hook.pending, finished=hook.finished, failed=hook.failed),
        )

    def _change_settings(self, _request: Request, body: bytes) -> object:
        self._sim.dials.now = self._sim.dials.now.changed(_decode(body, dict[str, object]))
        return self._sim.dials.now

    def _secrets(self, _request: Request, _body: bytes) -> list[str]:
        return [*self._sim.tokens.issued, *self._sim.grants.issued]

    def _servers(self, _request: Request, _body: bytes) -> list[ServerInfo]:
        return [_info(server) for server in self._sim.compute.all()]

    def _add_servers(self, _request: Request, body: bytes) -> list[ServerInfo]:
        specs = _decode(body, list[ServerSpec])
        return [_info(self._sim.compute.add(spec)) for spec in specs]

    def _change_servers(self, _request: Request, body: bytes) -> list[ServerInfo]:
        change = _decode(body, ServerChange)
        matching = [s for s in self._sim.compute.all() if fnmatchcase(s.name, change.names)]
        if not matching:
            raise NotFoundError(f"names: no server matches {change.names!r}")
        for server in matching:
            self._change(server, change)
        return [_info(server) for server in matching]

    def _remove_servers(self, _request: Request, body: bytes) -> dict[str, int]:
        names = _decode(body, ServerNames).names
        matching = [
            server
            for server in self._sim.compute.all(deleted=True)
            if fnmatchcase(server.name, names)
        ]
        for server in matching:
            self._sim.compute.forget(server)
        return {"removed": len(matching)}

    def _change(self, server: Server, change: ServerChange) -> None:
        compute = self._sim.compute
        if change.status is not None:
            vm_state = VM_STATES_BY_STATUS.get(change.status)
            if vm_state is None:
                raise BadRequestError(
                    f"status: unknown {change.status!r};"
                    f" one of {', '.join(sorted(VM_STATES_BY_STATUS))}"
                )
            fault = None
            if change.fault is not None:
                fault = ServerFault(500, change.fault, self._sim.time.now())
            compute.put(server, vm_state, fault)
        if change.locked is not None:
            server.locked = change.locked
            compute.describe(server)
        if change.boot_seconds is not None:
            server.boot_seconds = change.boot_seconds
        if change.stop_seconds is not None:
            server.stop_seconds = change.stop_seconds

    def _add_fault(self, _request: Request, body: bytes) -> dict[str, int]:
        return {"number": self._sim.gate.faults.add(_decode(body, Fault))}

    def _clear_faults(self, _request: Request, _body: bytes) -> None:
        self._sim.gate.faults.clear()

    def _remove_fault(self, request: Request, _body: bytes) -> None:
        number: int = request.path_params["number"]
        if not self._sim.gate.faults.remove(number):
            raise NotFoundError(f"number: no fault {number} is in force")

    def _set_outage(self, _request: Request, body: bytes) -> None:
        self._sim.gate.outage = _decode(body, Outage)

    def _counts(self, _request: Request, _body: bytes) -> Counts:
        gate = self._sim.gate
        return Counts(
            calls=dict(gate.calls),
            answers={kind: dict(statuses) for kind, statuses in gate.answers.items()},
            action_calls=gate.action_calls,
        )

    def _images(self, _request: Request, _body: bytes) -> list[ImageInfo]:
        return [
            ImageInfo(id=i.id, name=i.name, status=i.status, properties=i.properties)
            for i in self._sim.images.matching({})
        ]

    def _reset_counts(self, _request: Request, _body: bytes) -> None:
        self._sim.gate.reset_counts()

    def _ledger(self, _request: Request, _body: bytes) -> list[LedgerEntry]:
        compute = self._sim.compute
        return [
            LedgerEntry(
                server_id=s.id,
                name=s.name,
                intervals=compute.ledger.intervals(s.id),
                endless=compute.ledger.endless(s.id),
            )
            for s in compute.all(deleted=True)
        ]

    def _set_hook(self, request: Request, body: bytes) -> None:
        # The hook runs any command, so only this machine may set it.
        if request.client is None or request.client.host not in _LOOPBACK:
            raise ForbiddenError(
                "hook: set it from the simulation's own machine, or in its --config"
            )
        self._sim.hook.spec = msgspec.json.decode(body, type=HookSpec | None)

    def _revoke_tokens(self, _request: Request, _body: bytes) -> dict[str, int]:
        return {"revoked": self._sim.tokens.revoke_all()}

    def _revoke_grants(self, _request: Request, _body: bytes) -> dict[str, int]:
        return {"revoked": self._sim.grants.revoke_all()}

    def _expire_access_tokens(self, _request: Request, _body: bytes) -> dict[str, int]:
        return {"expired": self._sim.grants.expire_access_tokens()}

    def _mint_refresh_token(self, _request: Request, _body: bytes) -> dict[str, str]:
        token = self._sim.grants.login(
            credentials.SUBJECT, credentials.PUBLIC_CLIENT, credentials.SCOPE
        )
        return {"refresh_token": token.value}

    def _device_codes(self, _request: Request, _body: bytes) -> list[DeviceLogin]:
        return [
            DeviceLogin(user_code=code.user_code, client_id=code.client_id, scope=code.scope)
            for code in self._sim.devices.waiting()
        ]

    def _decide_device(self, _request: Request, body: bytes) -> dict[str, bool]:
        decision = _decode(body, DeviceDecision)
        return {"decided": self._sim.devices.decide(decision.user_code, agree=decision.agree)}


def _endpoint(handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        try:
            content = handler(request, body)
        except ApiError as error:
            return json_response({"error": error.message}, error.status)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return json_response({"error": str(error)}, 400)
        return Response(status_code=204) if content is None else json_response(content)

    return endpoint


def _decode(body: bytes, shape: type[_Shape]) -> _Shape:
    return msgspec.json.decode(body, type=shape)


def _info(server: Server) -> ServerInfo:
    return ServerInfo(
        id=server.id,
        name=server.name,
        project_id=server.project_id,
        status=server.status,
        task_state=server.task_state,
        powered=server.powered,
        locked=server.locked,
        address=server.address,
        image_id=server.image_id,
        metadata=server.metadata,
        tags=server.tags,
    )
