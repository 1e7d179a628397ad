"""The processes of the cloud, except database and message broker."""

from __future__ import annotations

import shutil
import signal
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import requests

from tests.testbed.openstack.api import session
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.testbed.openstack.layout import Layout

HERE = Path(__file__).parent
START_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Program:
    """The command of one service, and the address that answers once it is up."""

    name: str
    argv: list[str | Path]
    environment: dict[str, str] = field(default_factory=dict)
    url: str | None = None


def oidc(layout: Layout) -> Program:
    """Return the OpenID provider."""
    # Node looks for packages beside the importing file, so the program must be beside them.
    folder = layout.run / "oidc"
    folder.mkdir(exist_ok=True)
    for file in (HERE / "oidc").glob("*.mjs"):
        shutil.copy(file, folder)
    modules = folder / "node_modules"
    modules.unlink(missing_ok=True)
    modules.symlink_to(layout.oidc / "node_modules")
    url = f"{layout.issuer}/.well-known/openid-configuration"
    return Program(
        "oidc", ["/usr/bin/node", folder / "server.mjs", layout.etc / "oidc.json"], url=url
    )


def apache(layout: Layout) -> Program:
    """Return the web server in front of Keystone."""
    argv: list[str | Path] = [
        "/usr/sbin/apache2",
        "-f",
        layout.etc / "apache2.conf",
        "-DFOREGROUND",
    ]
    return Program("apache", argv, url=layout.auth_url)


def keystone(layout: Layout) -> Program:
    """Return the identity service."""
    environment = {"OS_KEYSTONE_CONFIG_DIR": str(layout.etc / "keystone")}
    application = "keystone.wsgi.api:application"
    return _wsgi(layout, "keystone", application, layout.ports.keystone_wsgi, environment, "/v3")


def apis(layout: Layout) -> list[Program]:
    """Return the APIs that need Keystone."""
    ports = layout.ports
    etc = {
        f"OS_{name.upper()}_CONFIG_DIR": str(layout.etc / name)
        for name in ("placement", "glance", "nova")
    }
    return [
        _wsgi(layout, "nova-api", "nova.wsgi.osapi_compute:application", ports.nova, etc, "/"),
        _wsgi(layout, "placement", "placement.wsgi.api:application", ports.placement, etc, "/", 6),
        _wsgi(layout, "glance", "glance.wsgi.api:application", ports.glance, etc, "/healthcheck"),
        _wsgi(layout, "neutron", "neutron_stub:create()", ports.neutron, {}, "/"),
    ]


def conductor(layout: Layout) -> Program:
    """Return nova-conductor, through which Nova uses its database."""
    return _daemon(layout, "nova-conductor", [layout.venv / "bin/nova-conductor"], "nova/nova.conf")


def scheduler(layout: Layout) -> Program:
    """Return nova-scheduler, which chooses compute nodes."""
    argv: list[str | Path] = [layout.venv / "bin/nova-scheduler"]
    return _daemon(layout, "nova-scheduler", argv, "nova/nova.conf", "nova-scheduler.conf")


def compute(layout: Layout) -> Program:
    """Return the only compute node, with our driver."""
    argv: list[str | Path] = [layout.venv / "bin/python", HERE / "compute"]
    return _daemon(layout, "nova-compute", argv, "nova-compute.conf")


def _environment(layout: Layout) -> dict[str, str]:
    return MINIMAL_ENVIRONMENT | {
        "HOME": str(layout.run),
        # Deprecation warnings of other projects' code would only fill the logs.
        "PYTHONWARNINGS": "ignore",
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
        "GUEST_DRIVER_FOLDER": str(layout.state / "nova"),
    }


def _daemon(layout: Layout, name: str, argv: list[str | Path], *files: str) -> Program:
    options = [word for file in files for word in ("--config-file", layout.etc / file)]
    return Program(name, [*argv, *options], _environment(layout))


def _wsgi(  # noqa: PLR0913, PLR0917 - one line per service in the callers
    layout: Layout,
    name: str,
    application: str,
    port: int,
    environment: dict[str, str],
    path: str,
    threads: int = 16,
) -> Program:
    settings = {
        "WSGI_APPLICATION": application,
        "WSGI_PORT": str(port),
        "WSGI_THREADS": str(threads),
        "WSGI_FOLDER": str(layout.run),
        "WSGI_ACCESS_LOG": str(layout.log / f"{name}-access.log"),
        "GUNICORN_CMD_ARGS": f"-c {HERE / 'wsgi/gunicorn_settings.py'}",
        "PYTHONPATH": str(HERE / "wsgi"),
    }
    return Program(
        name,
        [layout.venv / "bin/gunicorn"],
        _environment(layout) | settings | environment,
        f"http://127.0.0.1:{port}{path}",
    )


class Services:
    """Running programs, which are stopped together."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._running: dict[str, Child] = {}

    def start(self, programs: Iterable[Program]) -> None:
        """Start programs without waiting for them."""
        for program in programs:
            self._running[program.name] = Child(
                program.argv,
                log=self._layout.log / f"{program.name}.log",
                env=program.environment or None,
            )

    def wait(self, programs: Iterable[Program]) -> None:
        """Wait until the programs with an address answer.

        Raises:
            RuntimeError: A program has ended; the message holds the end of its log.
            TimeoutError: A program does not answer.
        """
        with session() as http:
            for program in programs:
                if program.url is not None:
                    what = f"{program.name} at {program.url}"
                    until(partial(self._answers, http, program), START_TIMEOUT_SECONDS, what)

    def require_running(self) -> None:
        """Raise a RuntimeError with the end of its log if a program has ended."""
        for child in self._running.values():
            child.require_running()

    def kill(self, name: str) -> None:
        """Kill one program."""
        self._running.pop(name).kill()

    def children(self) -> dict[str, Child]:
        """Return the running programs by name."""
        return dict(self._running)

    def stop(self) -> None:
        """Stop all programs together, the last started first."""
        children = list(reversed(self._running.values()))
        self._running.clear()
        with ExitStack() as stopping:
            for child in children:
                stopping.callback(child.stop)
            for child in children:
                child.send(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self, http: requests.Session, program: Program) -> bool:
        self._running[program.name].require_running()
        try:
            return http.get(str(program.url), timeout=60.0).ok
        except requests.ConnectionError:
            return False
