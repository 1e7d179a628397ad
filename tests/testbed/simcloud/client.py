"""A Python client of the control API."""

import time
from collections.abc import Iterable
from typing import TypeVar

import msgspec
import requests

from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.gate import Outage, ServiceName
from tests.testbed.simcloud.settings import HookSpec, ServerSpec, Settings, Span
from tests.testbed.simcloud.wire import (
    Counts,
    DeviceDecision,
    DeviceLogin,
    ImageInfo,
    LedgerEntry,
    ServerChange,
    ServerInfo,
    State,
)

_Shape = TypeVar("_Shape")
_EVERYTHING: tuple[ServiceName, ...] = ("compute", "identity", "oidc", "image", "network")


class ControlError(Exception):
    """The simulation refused a control call; the message names the field."""


class SimControl:
    """Controls the simulation at ``url``. Every method raises ControlError if the call is refused."""

    def __init__(self, url: str, initial: Settings | None = None) -> None:
        """Make no call yet; ``reset`` restores the settings ``initial``."""
        self.url = url.rstrip("/")
        self._initial = initial or Settings()
        self._http = requests.Session()
        self._http.trust_env = False

    def close(self) -> None:
        self._http.close()

    @property
    def auth_url(self) -> str:
        """Keystone's address."""
        return f"{self.url}/identity/v3"

    @property
    def issuer(self) -> str:
        """The login provider's address, without a trailing slash."""
        return f"{self.url}/oidc/auth/realms/egi"

    @property
    def token_endpoint(self) -> str:
        """The token endpoint of the login provider."""
        return f"{self.issuer}/protocol/openid-connect/token"

    # -- servers

    def add_servers(
        self, servers: Iterable[str | ServerSpec], status: str = "SHUTOFF"
    ) -> list[ServerInfo]:
        """Add servers; those given only by name start in ``status``."""
        specs = [
            ServerSpec(name=server, status=status) if isinstance(server, str) else server
            for server in servers
        ]
        return self._ask(list[ServerInfo], "POST", "servers", specs)

    def servers(self) -> dict[str, ServerInfo]:
        """Return all servers that are not deleted, by name."""
        return {server.name: server for server in self.all_servers()}

    def all_servers(self) -> list[ServerInfo]:
        """Return all servers that are not deleted; several may have the same name."""
        return self._ask(list[ServerInfo], "GET", "servers")

    def images(self) -> list[ImageInfo]:
        """Return all images."""
        return self._ask(list[ImageInfo], "GET", "images")

    def change_servers(  # noqa: PLR0913 (each is an independent, optional change)
        self,
        names: str,
        *,
        status: str | None = None,
        fault: str | None = None,
        locked: bool | None = None,
        boot_seconds: Span | None = None,
        stop_seconds: Span | None = None,
    ) -> list[ServerInfo]:
        """Change all servers whose names match the glob ``names``, bypassing Nova's API."""
        change = ServerChange(
            names=names,
            status=status,
            fault=fault,
            locked=locked,
            boot_seconds=boot_seconds,
            stop_seconds=stop_seconds,
        )
        return self._ask(list[ServerInfo], "PATCH", "servers", change)

    def set_power(self, names: str, *, on: bool) -> list[ServerInfo]:
        """Switch the matching servers on or off at once, as another user of the cloud could."""
        return self.change_servers(names, status="ACTIVE" if on else "SHUTOFF")

    def remove_servers(self, names: str = "*") -> int:
        """Remove the servers whose names match the glob without a trace; return their number."""
        return self._ask(dict[str, int], "POST", "servers/remove", {"names": names})["removed"]

    def await_status(
        self, names: Iterable[str], status: str, timeout_seconds: float = 30.0
    ) -> None:
        """Wait until all of ``names`` show ``status`` and run no task.

        Raises:
            TimeoutError: they did not in time; the message names them.
        """
        wanted = set(names)
        deadline = time.monotonic() + timeout_seconds
        while True:
            asked = time.monotonic()
            now = self.servers()
            late = {
                name: f"{now[name].status}/{now[name].task_state}" if name in now else "absent"
                for name in wanted
                if name not in now or now[name].status != status or now[name].task_state
            }
            if not late:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {status} after {timeout_seconds} s: {late}")
            # Listing thousands of servers takes long: leave the cloud most of its time.
            time.sleep(0.02 + 3 * (time.monotonic() - asked))

    def ledger(self) -> list[LedgerEntry]:
        """Return when each server was powered on, including deleted servers."""
        return self._ask(list[LedgerEntry], "GET", "ledger")

    # -- faults

    def inject(self, fault: Fault) -> int:
        """Add a fault; return its number."""
        return self._ask(dict[str, int], "POST", "faults", fault)["number"]

    def remove_fault(self, number: int) -> None:
        self._tell("DELETE", f"faults/{number}")

    def clear_faults(self) -> None:
        self._tell("DELETE", "faults")

    def outage(
        self,
        *,
        on: bool,
        looks_like_reset: bool = False,
        services: Iterable[ServiceName] = _EVERYTHING,
    ) -> None:
        """Make services unavailable, with 503 from a proxy or with connection resets; or end the outage."""
        away = Outage(
            services=list(services) if on else [], looks="reset" if looks_like_reset else "503"
        )
        self._tell("PUT", "outage", away)

    def revoke_tokens(self) -> int:
        """Revoke all Keystone tokens; return their number."""
        return self._ask(dict[str, int], "POST", "tokens/revoke")["revoked"]

    def revoke_grants(self) -> int:
        """Revoke all logins at the provider: their refresh and access tokens become invalid for ever."""
        return self._ask(dict[str, int], "POST", "grants/revoke")["revoked"]

    def expire_access_tokens(self) -> int:
        """Expire all access tokens; refresh tokens stay valid."""
        return self._ask(dict[str, int], "POST", "access-tokens/expire")["expired"]

    def mint_refresh_token(self) -> str:
        """Log the user in again; return the first refresh token of the new family."""
        return self._ask(dict[str, str], "POST", "refresh-tokens")["refresh_token"]

    def device_logins(self) -> list[DeviceLogin]:
        """Return the device-code logins that wait for the user's approval."""
        return self._ask(list[DeviceLogin], "GET", "device-codes")

    def approve_device(self, user_code: str, *, agree: bool = True) -> bool:
        """Approve or deny as the user would in a browser; return whether such a login was waiting."""
        decision = DeviceDecision(user_code=user_code, agree=agree)
        return self._ask(dict[str, bool], "POST", "device-codes", decision)["decided"]

    def issued_secrets(self) -> list[str]:
        """All tokens issued so far, valid or not, for searches for leaked secrets."""
        return self._ask(list[str], "GET", "secrets")

    def reset(self) -> None:
        """Restore the initial state: no servers, faults, outage, hook or counts; the initial settings."""
        self.clear_faults()
        self.outage(on=False)
        self.set_hook(None)
        self.set(**msgspec.to_builtins(self._initial))
        self.remove_servers()
        self.reset_counts()

    # -- settings and observations

    def set(self, **changes: object) -> Settings:
        """Change settings by field name (see ``Settings``)."""
        return self._ask(Settings, "PATCH", "settings", changes)

    def set_latency(self, seconds: Span) -> None:
        """Set the duration of every call."""
        self.set(latency_seconds=seconds)

    def set_hook(self, hook: HookSpec | None) -> None:
        """Set the command that runs when a server's power changes."""
        self._tell("PUT", "hook", hook)

    def state(self) -> State:
        return self._ask(State, "GET", "state")

    def counts(self) -> dict[str, int]:
        """Return the number of calls since the last reset by kind, without the kinds never called."""
        return self.call_counts().calls

    def call_counts(self) -> Counts:
        """Return calls and answers by kind, and every action call with its time and answer."""
        return self._ask(Counts, "GET", "counts")

    def reset_counts(self) -> None:
        self._tell("DELETE", "counts")

    def _ask(self, shape: type[_Shape], method: str, path: str, body: object = None) -> _Shape:
        return msgspec.json.decode(self._tell(method, path, body), type=shape)

    def _tell(self, method: str, path: str, body: object = None) -> bytes:
        response = self._http.request(
            method, f"{self.url}/_sim/{path}", data=msgspec.json.encode(body), timeout=30
        )
        if not response.ok:
            raise ControlError(f"{method} {path}: {response.status_code} {response.text}")
        return response.content
