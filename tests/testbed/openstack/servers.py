"""Test operations on the servers and on their hypervisor."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tests.testbed.openstack.api import Keystone, Service, Token, by_password, in_project
from tests.testbed.openstack.layout import ADMIN_PASSWORD
from tests.testbed.openstack.seed import IMAGE_NAME
from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.testbed.openstack.api import Json
    from tests.testbed.openstack.layout import Layout
    from tests.testbed.simcloud.settings import HookSpec

T = TypeVar("T")

MICROVERSION = "2.96"
UNAUTHORIZED = 401
AT_ONCE = 4
"""More calls together only queue up: creating a server takes a core for a quarter of a second."""

ACTIONS: dict[str, Json] = {
    "SHUTOFF": {"os-stop": None},
    "SHELVED_OFFLOADED": {"shelve": None},
    "PAUSED": {"pause": None},
    "SUSPENDED": {"suspend": None},
    "RESCUE": {"rescue": None},
    "VERIFY_RESIZE": {"resize": {"flavorRef": "2"}},
    "ERROR": {"os-resetState": {"state": "error"}},
}
"""How a server that is ACTIVE gets into another status."""


@dataclass(frozen=True)
class ServerInfo:
    """A server as Nova shows it."""

    id: str
    name: str
    status: str
    task_state: str | None


@dataclass(frozen=True)
class DriverFailure:
    """A failure in the hypervisor.

    Attributes:
        names: A glob for the servers' names.
        operation: spawn, power_on, power_off, destroy, snapshot, reboot, pause, unpause, suspend,
            resume, rescue or unrescue.
        message: The message of the server's fault, if Nova records one.
    """

    names: str
    operation: str = "power_on"
    message: str = "the hypervisor failed as ordered"


class ComputeControl:
    """The servers of the project `nodes`, and the orders of the driver."""

    def __init__(self, layout: Layout) -> None:
        self._auth_url = layout.auth_url
        self._compute_url = layout.compute_url
        self._orders_file = layout.state / "nova/orders.json"
        self._orders: dict[str, object] = {}

    @cached_property
    def user_id(self) -> str:
        """The id of the user `keeper`."""
        return str(self._user().body["user"]["id"])

    @cached_property
    def project_id(self) -> str:
        """The id of the project `nodes`, which has no quota."""
        return str(self._user().body["project"]["id"])

    @cached_property
    def application_credential_id(self) -> str:
        """The id of the user's application credential for the project `nodes`."""
        with Service(self._auth_url, self._user().id) as identity:
            path = f"/users/{self.user_id}/application_credentials"
            listed = identity.ask("GET", path)["application_credentials"]
        return next(
            str(credential["id"])
            for credential in listed
            if credential["name"] == credentials.APPLICATION_CREDENTIAL_NAME
        )

    @cached_property
    def image_id(self) -> str:
        """The id of the only image."""
        token = self._user()
        with Service(token.endpoints["image"], token.id) as glance:
            return str(glance.ask("GET", f"/v2/images?name={IMAGE_NAME}")["images"][0]["id"])

    def add_servers(
        self, names: Iterable[str], status: str = "SHUTOFF", *, networks: str = "auto"
    ) -> list[ServerInfo]:
        """Create servers and bring them into a status: ACTIVE or one of `ACTIONS`.

        With `networks` "auto", servers have a loopback address; with "none", they have none. The
        driver's orders and hook apply.

        Raises:
            TimeoutError: Some servers did not reach it.
        """
        wanted = list(names)
        about = {"flavorRef": "1", "imageRef": self.image_id, "networks": networks}
        with self._nova() as nova, self._nova(admin=True) as admin:

            def create(name: str) -> str:
                made = nova.ask("POST", "/servers", {"server": about | {"name": name}})
                return str(made["server"]["id"])

            ids = _each(create, wanted)
            self.await_status(wanted, "ACTIVE", 60.0 + len(wanted))
            if status != "ACTIVE":
                # Only the administrator may set a server to ERROR.
                api = admin if status == "ERROR" else nova
                _each(lambda server: _act(api, server, ACTIONS[status]), ids)
                self.await_status(wanted, status, 60.0 + len(wanted))
        made = set(ids)
        return [server for server in self.servers().values() if server.id in made]

    def servers(self) -> dict[str, ServerInfo]:
        """Return the project's servers by name."""
        with self._nova() as nova:
            listed = nova.ask("GET", "/servers/detail")["servers"]
        return {
            server["name"]: ServerInfo(
                server["id"], server["name"], server["status"], server["OS-EXT-STS:task_state"]
            )
            for server in listed
        }

    def await_status(
        self, names: Iterable[str], status: str, timeout_seconds: float = 60.0
    ) -> None:
        """Wait until all of `names` show `status` and run no task.

        Raises:
            TimeoutError: Some did not in time; the message names them.
        """
        wanted = set(names)
        late: dict[str, str] = {}

        def arrived() -> bool:
            now = self.servers()
            late.clear()
            late.update(
                (name, f"{now[name].status}/{now[name].task_state}" if name in now else "absent")
                for name in wanted
                if name not in now or now[name].status != status or now[name].task_state
            )
            return not late

        try:
            until(arrived, timeout_seconds, status, interval=0.2)
        except TimeoutError:
            raise TimeoutError(f"not {status} after {timeout_seconds:g} s: {late}") from None

    def delete_servers(self) -> None:
        """Delete all servers of the project and wait until they are gone."""
        with self._nova() as nova:
            delete_all(nova)

    def set_lock(self, name: str, *, locked: bool) -> None:
        """Lock a server as the administrator, so that its owner cannot act on it; or unlock it."""
        with self._nova(admin=True) as nova:
            _act(nova, self.servers()[name].id, {"lock" if locked else "unlock": None})

    def set_driver(
        self,
        *,
        boot_seconds: float = 0.0,
        stop_seconds: float = 0.0,
        shelve_seconds: float = 0.0,
        destroy_seconds: float = 0.0,
        failures: Iterable[DriverFailure] = (),
    ) -> None:
        """Set the durations and the failures of the hypervisor."""
        seconds = {
            "spawn": boot_seconds,
            "power_on": boot_seconds,
            "power_off": stop_seconds,
            "snapshot": shelve_seconds,
            "destroy": destroy_seconds,
        }
        self._order(seconds=seconds, failures=[asdict(failure) for failure in failures])

    def set_hook(self, hook: HookSpec | None) -> None:
        """Set the command that nova-compute runs after a change of a guest's power."""
        self._order(hook=msgspec.to_builtins(hook))

    def revoke_tokens(self) -> None:
        """Revoke the tokens of all users, except the services' own; wait until Nova refuses them."""
        admin = self._login("admin", ADMIN_PASSWORD, "admin")
        with Service(self._auth_url, admin.id) as identity, self._nova() as nova:
            # Keystone revokes a user's tokens when the password changes. A federated user has none
            # and is disabled for a moment; the same would cost the other one its credentials.
            password = {"user": {"password": credentials.PASSWORD}}
            identity.ask("PATCH", f"/users/{self.user_id}", password)
            path = f"/users?idp_id={credentials.IDENTITY_PROVIDER}"
            for user in identity.ask("GET", path)["users"]:
                for enabled in (False, True):
                    identity.ask("PATCH", f"/users/{user['id']}", {"user": {"enabled": enabled}})
            struck = int(time.time())
            until(lambda: _refuses(nova), 10.0, "the revocation")
        # The revocation covers all tokens issued in the same second, later ones too.
        until(lambda: int(time.time()) > struck, 10.0, "the next second")
        until(self._is_let_in, 10.0, "a good token")

    def _is_let_in(self) -> bool:
        with self._nova() as nova:
            return not _refuses(nova)

    def _nova(self, *, admin: bool = False) -> Service:
        # A new login for each use, so that the token is valid even if tokens are short-lived.
        token = self._login("admin", ADMIN_PASSWORD, "admin") if admin else self._user()
        headers = {"OpenStack-API-Version": f"compute {MICROVERSION}"}
        return Service(self._compute_url, token.id, headers)

    def _user(self) -> Token:
        return self._login(credentials.USERNAME, credentials.PASSWORD, credentials.PROJECT_NAME)

    def _login(self, username: str, password: str, project: str) -> Token:
        with Keystone(self._auth_url) as keystone:
            return Token.of(keystone.login(by_password(username, password), in_project(project)))

    def _order(self, **changes: object) -> None:
        self._orders |= changes
        # In one step, because nova-compute may read it at any time.
        partial = self._orders_file.with_suffix(".partial")
        partial.write_text(json.dumps(self._orders))
        partial.replace(self._orders_file)


def delete_all(nova: Service) -> None:
    """Delete all servers that a token can list, and wait until they are gone.

    Raises:
        TimeoutError: Some servers remain.
    """

    def none_left() -> bool:
        ids = [server["id"] for server in nova.ask("GET", "/servers")["servers"]]
        # Nova may lose a deletion that arrives during the server's creation, so each round repeats it;
        # a server that is being deleted may answer 404.
        _each(lambda server: nova.call("DELETE", f"/servers/{server}"), ids)
        return not ids

    until(none_left, 120.0, "the end of all servers", interval=0.5)


def _refuses(api: Service) -> bool:
    status: int = api.call("GET", "/servers").status_code
    return status == UNAUTHORIZED


def _act(api: Service, server_id: str, action: Json) -> None:
    api.ask("POST", f"/servers/{server_id}/action", action)


def _each(work: Callable[[str], T], items: list[str]) -> list[T]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))
