"""Which broker a test run uses: the one it is told, else a container, else a private server."""

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
    """A way to a broker: what it is, for people, and how to have it in a private folder."""

    description: str
    open: Callable[[Path], AbstractContextManager[Broker]]


def choose() -> Choice:
    """Find the broker for this test run; nothing is started yet.

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
        f"no RabbitMQ: install the package rabbitmq-server, or start a Docker engine that has or "
        f"can pull {IMAGE}, or set {URL_VARIABLE}"
    )


class ExistingBroker(Broker):
    """The broker of somebody else, who allowed us to make vhosts, or at least to use one."""

    def __init__(self, url: str, management_url: str | None = None) -> None:
        """Connect once.

        Args:
            url: An AMQP URL; without access to the management API all tests share its vhost.
            management_url: Root of the API; by default port 15672 of the same host.

        Raises:
            RuntimeError: The broker does not let us in.
        """
        parts = urlsplit(url)
        host = parts.hostname or "localhost"
        parameters = pika.URLParameters(url)
        admin = User(unquote(parts.username or "guest"), unquote(parts.password or "guest"))
        self.shared_vhost = parameters.virtual_host
        try:
            connection = pika.BlockingConnection(parameters)
        except (pika.exceptions.AMQPError, OSError) as error:
            raise RuntimeError(f"{URL_VARIABLE}: {host} does not let us in: {error!r}") from error
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
        """Create a vhost, or name the shared one where we may not."""
        return super().create_vhost(vhost) if self.management else self.shared_vhost

    def delete_vhost(self, vhost: str) -> None:
        """Delete a vhost, unless it is the shared one."""
        if vhost != self.shared_vhost:
            super().delete_vhost(vhost)

    def close(self) -> None:
        """Forget the broker, which goes on."""
        if self.management:
            self.management.close()


@contextmanager
def container(image: str = IMAGE) -> Iterator[Broker]:
    """Run a RabbitMQ container whose ports are published on 127.0.0.1 only."""
    # Imported here: most runs need neither, and they are slow to import.
    from testcontainers.community.rabbitmq import RabbitMqContainer  # noqa: PLC0415
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415

    # Its helper removes containers of killed test runs, but is an image of its own.
    testcontainers_config.ryuk_disabled = not _has_image(testcontainers_config.ryuk_image)
    admin = User("admin", secrets.token_urlsafe(18))
    server = RabbitMqContainer(image, username=admin.name, password=admin.password)
    # The Docker library's own form of "any free port of this address".
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
    """Whether a Docker engine answers and has the image, after an attempt to pull it if asked."""
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
    """Whether it is worth asking: the Docker library forgets to close a socket that is refused."""
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
