"""Where one cloud has its files and its ports, and the passwords of its services."""

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
    """The TCP ports on 127.0.0.1. `keystone` is Apache's, which stands before `keystone_wsgi`."""

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
        """Reserve a port for each."""
        return cls(*(ports.take() for _ in range(8)))


@dataclass(frozen=True)
class Layout:
    """One cloud's folder and ports.

    Attributes:
        folder: All that it writes; short enough for a Unix socket's path.
        venv: The services' Python environment.
        oidc: The folder of the OpenID provider with its node_modules.
    """

    folder: Path
    ports: PortMap
    venv: Path
    oidc: Path

    @property
    def etc(self) -> Path:
        """Configuration, written anew at each start; holds passwords."""
        return self.folder / "etc"

    @property
    def log(self) -> Path:
        """Logs of all services."""
        return self.folder / "log"

    @property
    def run(self) -> Path:
        """Sockets, pid files and locks."""
        return self.folder / "run"

    @property
    def state(self) -> Path:
        """What must outlast a stop: database, keys, images, guests."""
        return self.folder / "state"

    def url(self, service: str) -> str:
        """Return the root of a service's API."""
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
        """Nova's public address, as the catalogue has it."""
        return f"{self.url('nova')}/v2.1"

    def database_url(self, database: str) -> str:
        """Return SQLAlchemy's URL of a database."""
        login = f"openstack:{DATABASE_PASSWORD}"
        return f"mysql+pymysql://{login}@127.0.0.1:{self.ports.database}/{database}"

    def make_folders(self) -> None:
        """Make the folders that the services expect to find."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.etc, self.log, self.run, self.state):
            folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("nova", "images", "image-staging", "image-tasks"):
            (self.state / name).mkdir(exist_ok=True)
