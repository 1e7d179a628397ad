"""The folders and ports of one cloud, and the passwords of its services."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.ports import Ports

ADMIN_PASSWORD = "the-real-clouds-admin"
SERVICE_PASSWORD = "the-real-clouds-services"
DATABASE_PASSWORD = "the-real-clouds-database"
INTROSPECTION_SECRET = "the-real-clouds-introspection"


@dataclass(frozen=True)
class PortMap:
    """The TCP ports on 127.0.0.1. `keystone` is Apache's, the proxy in front of `keystone_wsgi`."""

    keystone: int
    keystone_wsgi: int
    placement: int
    glance: int
    nova: int
    neutron: int
    database: int
    oidc: int

    @classmethod
    def take(cls, ports: Ports) -> PortMap:
        """Reserve a port for each service."""
        return cls(*(ports.take() for _ in range(8)))


@dataclass(frozen=True)
class Layout:
    """One cloud's folder and ports.

    Attributes:
        folder: For all its files; short enough for the path of a Unix socket.
        venv: The services' Python environment.
        oidc: The folder of the OpenID provider with its node_modules.
    """

    folder: Path
    ports: PortMap
    venv: Path
    oidc: Path

    @property
    def etc(self) -> Path:
        """The folder of the configuration, which is written at each start; contains passwords."""
        return self.folder / "etc"

    @property
    def log(self) -> Path:
        """The folder of all logs."""
        return self.folder / "log"

    @property
    def run(self) -> Path:
        """The folder of sockets, pid files and locks."""
        return self.folder / "run"

    @property
    def state(self) -> Path:
        """The folder of persistent data: database, keys, images, guests."""
        return self.folder / "state"

    def url(self, service: str) -> str:
        """Return the root URL of a service's API."""
        return f"http://127.0.0.1:{asdict(self.ports)[service]}"

    @property
    def auth_url(self) -> str:
        """Keystone's public address."""
        return f"{self.url('keystone')}/v3"

    @property
    def issuer(self) -> str:
        """The OpenID provider's identifier."""
        return f"{self.url('oidc')}/auth/realms/egi"

    @property
    def compute_url(self) -> str:
        """Nova's public address, as in the catalogue."""
        return f"{self.url('nova')}/v2.1"

    def database_url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        login = f"openstack:{DATABASE_PASSWORD}"
        return f"mysql+pymysql://{login}@127.0.0.1:{self.ports.database}/{database}"

    def make_folders(self) -> None:
        """Create the folders that the services require."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.etc, self.log, self.run, self.state):
            folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("nova", "images", "image-staging", "image-tasks"):
            (self.state / name).mkdir(exist_ok=True)
