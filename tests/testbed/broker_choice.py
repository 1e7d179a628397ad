"""Choose the broker of a test run: the one in the environment, a container, or a private server."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pika
import pika.exceptions
import requests

from tests.testbed.broker import Broker, PrivateBroker, User
from tests.testbed.management import Management
from tests.testbed.rabbitmq_node import packaged_version
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

URL_VARIABLE = "LAMPLIGHTER_TEST_AMQP_URL"
MANAGEMENT_VARIABLE = "LAMPLIGHTER_TEST_MANAGEMENT_URL"
IMAGE = "rabbitmq:4-management"
ENGINE_TIMEOUT = 5


@dataclass(frozen=True)
class Choice:
    """A broker that can be used: its description, and a function that opens it in a private folder."""

    description: str
    open: Callable[[Path], AbstractContextManager[Broker]]


def choose() -> Choice:
    """Choose the broker of this test run; start nothing.

    Raises:
        RuntimeError: There is none, or the one at `LAMPLIGHTER_TEST_AMQP_URL` does not answer.
    """
    if url := os.environ.get(URL_VARIABLE):
        existing = ExistingBroker(url, os.environ.get(MANAGEMENT_VARIABLE))
        return Choice(existing.description, lambda _: closing(existing))
    if _has_image(IMAGE, pull=True):
        return Choice(f"container of {IMAGE}", lambda _: container())
    if version := packaged_version():
        description = f"private rabbitmq-server {version} of the system's package"
        return Choice(description, lambda folder: PrivateBroker(folder / "broker"))
    raise RuntimeError(
        "no RabbitMQ: install the package rabbitmq-server, or start a Docker engine that has or "
        f"can pull {IMAGE}, or set {URL_VARIABLE}"
    )


class ExistingBroker(Broker):
    """An existing broker on which we may create vhosts, or at least use one."""

    def __init__(self, url: str, management_url: str | None = None) -> None:
        """Connect once.

        Args:
            url: An AMQP URL. Without access to the management API, all tests share its vhost.
            management_url: Root URL of the API; by default port 15672 of the same host.

        Raises:
            RuntimeError: The broker refuses the connection.
        """
        parts = urlsplit(url)
        host = parts.hostname or "localhost"
        parameters = pika.URLParameters(url)
        admin = User(unquote(parts.username or "guest"), unquote(parts.password or "guest"))
        self.shared_vhost = parameters.virtual_host
        try:
            connection = pika.BlockingConnection(parameters)
        except (pika.exceptions.AMQPError, OSError) as error:
            raise RuntimeError(
                f"{URL_VARIABLE}: {host} refuses the connection: {error!r}"
            ) from error
        with closing(connection):
            version = connection._impl.server_properties["version"]
        api = Management(management_url or f"http://{host}:15672", admin.name, admin.password)
        management = api if _version(api) else None
        limits = "" if management else f", all tests in vhost {self.shared_vhost!r}"
        if not management:
            api.close()
        super().__init__(
            host,
            parameters.port,
            admin,
            management=management,
            description=f"{host}:{parameters.port}, RabbitMQ {version}{limits}",
            scheme=parts.scheme,
        )

    def create_vhost(self, vhost: str | None = None) -> str:
        """Create a vhost, or return the shared one if we may not create any."""
        return super().create_vhost(vhost) if self.management else self.shared_vhost

    def delete_vhost(self, vhost: str) -> None:
        """Delete a vhost, unless it is the shared one."""
        if vhost != self.shared_vhost:
            super().delete_vhost(vhost)

    def close(self) -> None:
        """Close our connections; the broker continues to run."""
        if self.management:
            self.management.close()


@contextmanager
def container(image: str = IMAGE) -> Iterator[Broker]:
    """Run a RabbitMQ container whose ports are published on 127.0.0.1 only."""
    # Imported here because most runs do not need them and they are slow to import.
    from testcontainers.community.rabbitmq import RabbitMqContainer  # noqa: PLC0415
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415

    # The helper Ryuk removes containers of killed test runs, but needs its own image.
    testcontainers_config.ryuk_disabled = not _has_image(testcontainers_config.ryuk_image)
    admin = User("admin", secrets.token_urlsafe(18))
    server = RabbitMqContainer(image, username=admin.name, password=admin.password)
    # This is how the Docker library expresses "any free port of this address".
    loopback: dict[str, Any] = dict.fromkeys(("5672/tcp", "15672/tcp"), ("127.0.0.1", None))
    server.ports.update(loopback)
    with server:
        web = f"http://127.0.0.1:{server.get_exposed_port(15672)}"
        with Management(web, admin.name, admin.password) as management:
            version = until(lambda: _version(management), 60.0, f"the management API of {image}")
            yield Broker(
                "127.0.0.1",
                int(server.get_exposed_port(5672)),
                admin,
                management=management,
                description=f"container of {image}, RabbitMQ {version}",
            )


def _version(management: Management) -> str | None:
    try:
        return management.version()
    except requests.RequestException:
        return None


def _has_image(image: str, *, pull: bool = False) -> bool:
    """Whether a Docker engine answers and has the image; with `pull`, try to pull it."""
    if not _engine_listens():
        return False
    import docker  # noqa: PLC0415 - slow to import
    import docker.errors  # noqa: PLC0415

    try:
        with closing(docker.from_env(timeout=ENGINE_TIMEOUT)) as engine:
            try:
                engine.images.get(image)
            except docker.errors.ImageNotFound:
                if not pull:
                    return False
                engine.images.pull(image)
    except (docker.errors.DockerException, requests.RequestException):
        return False
    return True


def _engine_listens() -> bool:
    """Whether the engine's socket accepts connections; if not, the Docker library would leak a socket."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(ENGINE_TIMEOUT)
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True
