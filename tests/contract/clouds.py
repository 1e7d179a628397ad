"""The two clouds that one contract holds for, under one face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tests.testbed.openstack.api import Keystone, Service, Token, by_password, in_project
from tests.testbed.openstack.servers import DriverFailure, delete_all
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.effects import FallsBack, NeverCompletes
from tests.testbed.simcloud.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.testbed.openstack.handle import RealOpenStack
    from tests.testbed.simcloud.handle import SimCloud

QUOTA = 10


class Cloud(Protocol):
    """What a test may do to a cloud beside its APIs.

    Attributes:
        auth_url: Keystone's address.
        token_endpoint: the login provider's.
        image_id: an image to create servers from.
        project_id: of the project without a quota.
        application_credential_id: for that project.
    """

    auth_url: str
    token_endpoint: str
    image_id: str
    project_id: str
    application_credential_id: str

    def add_servers(self, names: Iterable[str], status: str) -> dict[str, str]:
        """Add servers in a status; return their ids by name."""

    def await_status(self, names: Iterable[str], status: str) -> None:
        """Wait until all of them show the status and run no task."""

    def take_time(self, *, boot: float = 0.0, stop: float = 0.0, shelve: float = 0.0) -> None:
        """Let the hypervisor take so many seconds."""

    def fail_power_on(self, names: str) -> None:
        """Let the power-on of servers whose names match a glob fail in the hypervisor."""

    def hold_deletions(self) -> None:
        """Let the next deletion stay in its task for seconds."""

    def lock(self, name: str) -> None:
        """Lock a server."""

    def limit_instances(self) -> str:
        """Return the name of a project that may have `QUOTA` servers and has none."""

    def set_token_seconds(self, seconds: int) -> None:
        """Let Keystone's tokens live so long from now on."""

    def mint_refresh_token(self) -> str:
        """Log the person in; return a refresh token."""

    def approve_device(self, user_code: str) -> bool:
        """Agree to a login by device code; return whether such a login waited."""

    def revoke_grants(self) -> None:
        """Revoke all logins at the provider."""

    def revoke_tokens(self) -> None:
        """Make all Keystone tokens of users bad."""

    def reset(self) -> None:
        """Undo all of this and delete all servers."""


class Simulated:
    """The simulation."""

    def __init__(self, cloud: SimCloud) -> None:
        self._cloud = cloud
        self.auth_url = cloud.auth_url
        self.token_endpoint = cloud.token_endpoint
        self.image_id = "70a599e0-31e7-49b7-b260-868f441e862b"
        self.project_id = credentials.PROJECT_ID
        self.application_credential_id = credentials.APPLICATION_CREDENTIAL_ID
        self.mint_refresh_token = cloud.mint_refresh_token
        self.reset()

    def add_servers(self, names: Iterable[str], status: str) -> dict[str, str]:
        return {server.name: server.id for server in self._cloud.add_servers(names, status)}

    def await_status(self, names: Iterable[str], status: str) -> None:
        self._cloud.await_status(names, status)

    def take_time(self, *, boot: float = 0.0, stop: float = 0.0, shelve: float = 0.0) -> None:
        self._cloud.set(boot_seconds=boot, stop_seconds=stop, shelve_seconds=shelve)

    def fail_power_on(self, names: str) -> None:
        self._cloud.inject(Fault(kind="start", server=names, effect=FallsBack()))

    def hold_deletions(self) -> None:
        self._cloud.inject(Fault(kind="delete", effect=NeverCompletes(), times=1))

    def lock(self, name: str) -> None:
        self._cloud.change_servers(name, locked=True)

    def limit_instances(self) -> str:
        self._cloud.set(instance_quota=QUOTA)
        return credentials.OTHER_PROJECT_NAME

    def set_token_seconds(self, seconds: int) -> None:
        self._cloud.set(token_seconds=float(seconds))

    def approve_device(self, user_code: str) -> bool:
        return self._cloud.approve_device(user_code)

    def revoke_grants(self) -> None:
        self._cloud.revoke_grants()

    def revoke_tokens(self) -> None:
        self._cloud.revoke_tokens()

    def reset(self) -> None:
        self._cloud.clear_faults()
        if self._cloud.servers():
            self._cloud.change_servers("*", status="DELETED")
        # A real cloud is never quicker than this.
        self._cloud.set(instance_quota=None, token_seconds=3600.0)
        self.take_time(boot=0.2, stop=0.2, shelve=0.2)


class Real:
    """Real OpenStack."""

    def __init__(self, cloud: RealOpenStack) -> None:
        self._cloud = cloud
        self.auth_url = cloud.auth_url
        self.token_endpoint = cloud.token_endpoint
        self.image_id = cloud.image_id
        self.project_id = cloud.project_id
        self.application_credential_id = cloud.application_credential_id
        self.mint_refresh_token = cloud.mint_refresh_token
        self._token_seconds = 3600
        self._locked: list[str] = []

    def add_servers(self, names: Iterable[str], status: str) -> dict[str, str]:
        return {server.name: server.id for server in self._cloud.add_servers(names, status)}

    def await_status(self, names: Iterable[str], status: str) -> None:
        self._cloud.await_status(names, status)

    def take_time(self, *, boot: float = 0.0, stop: float = 0.0, shelve: float = 0.0) -> None:
        self._cloud.set_driver(boot_seconds=boot, stop_seconds=stop, shelve_seconds=shelve)

    def fail_power_on(self, names: str) -> None:
        self._cloud.set_driver(failures=[DriverFailure(names)])

    def hold_deletions(self) -> None:
        self._cloud.set_driver(destroy_seconds=5.0)

    def lock(self, name: str) -> None:
        self._cloud.set_lock(name, locked=True)
        self._locked.append(name)

    def limit_instances(self) -> str:
        return credentials.OTHER_PROJECT_NAME

    def set_token_seconds(self, seconds: int) -> None:
        self._cloud.set_token_seconds(seconds)
        self._token_seconds = seconds

    def approve_device(self, user_code: str) -> bool:
        return self._cloud.approve_device(user_code)

    def revoke_grants(self) -> None:
        self._cloud.revoke_grants()

    def revoke_tokens(self) -> None:
        self._cloud.revoke_tokens()

    def reset(self) -> None:
        if self._token_seconds != 3600:
            self.set_token_seconds(3600)
        self._cloud.set_driver()
        for name in self._locked:
            self._cloud.set_lock(name, locked=False)
        self._locked.clear()
        for project in (credentials.PROJECT_NAME, credentials.OTHER_PROJECT_NAME):
            with nova_for(self, project) as nova:
                delete_all(nova)


def login(
    cloud: Cloud, project: str = credentials.PROJECT_NAME, name: str = credentials.USERNAME
) -> Token:
    """Log in by password."""
    with Keystone(cloud.auth_url) as keystone:
        user = by_password(name, credentials.PASSWORD)
        return Token.of(keystone.login(user, in_project(project)))


def nova_for(cloud: Cloud, project: str = credentials.PROJECT_NAME, version: str = "") -> Service:
    """Return Nova's API for a project, with a microversion or Nova's default one."""
    token = login(cloud, project)
    headers = {"OpenStack-API-Version": f"compute {version}"} if version else {}
    return Service(token.endpoints["compute"], token.id, headers)
