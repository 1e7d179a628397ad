"""Run this repository's compose.yaml privately."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.testbed.docker.build import REPOSITORY, build_image
from tests.testbed.docker.images import POSTGRES, PROMETHEUS, RABBITMQ, ensure_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.docker.client import Engine

UP_TIMEOUT = 180
# Of each container, what its last health checks printed.
_HEALTH = "{{.Name}}: {{with .State.Health}}{{.Status}} {{range .Log}}{{.ExitCode}} {{.Output}}{{end}}{{end}}"


@dataclass(frozen=True)
class Project:
    """The services of compose.yaml under a project name, with their own secrets, images and ports.

    Attributes:
        engine: The engine that runs them.
        name: The project's name.
        secrets: The folder of their secrets.
        files: The files of compose, in the repository.
    """

    engine: Engine
    name: str
    secrets: Path
    files: tuple[str, ...] = ("compose.yaml",)

    @property
    def images(self) -> dict[str, str | None]:
        """Our images, and the stage of the Dockerfile that each is built from."""
        return {
            f"lamplighter:{self.name}": None,
            f"lamplighter-demo:{self.name}": "demo",
            f"lamplighter-slurm:{self.name}": "slurm",
        }

    def compose(self, *arguments: str, timeout: float = 300.0) -> str:
        """Run `docker compose ARGUMENTS` with all profiles and return its output.

        Raises:
            DockerError: It failed.
        """
        return self.engine.run(
            *("compose", "--ansi", "never", "--project-name", self.name, "--profile", "*"),
            *("--project-directory", REPOSITORY),
            *(word for file in self.files for word in ("--file", REPOSITORY / file)),
            *arguments,
            timeout=timeout,
            env={
                "LAMPLIGHTER_TAG": self.name,
                "LAMPLIGHTER_SECRETS": str(self.secrets),
                # Empty means any free port.
                "LAMPLIGHTER_AMQP_PORT": "",
                "LAMPLIGHTER_MANAGEMENT_PORT": "",
                "LAMPLIGHTER_SIMCLOUD_PORT": "",
                "LAMPLIGHTER_CONSOLE_PORT": "",
                "LAMPLIGHTER_PROMETHEUS_PORT": "",
                "LAMPLIGHTER_GRAFANA_PORT": "",
            },
        )

    def run(self, *command: str) -> str:
        """Run a command in a new container of the service `hook`; return its output.

        Raises:
            DockerError: It failed.
        """
        return self.compose("run", "--rm", "--no-deps", "-T", "hook", *command)

    def address(self, service: str, port: int) -> str:
        """Return the HOST:PORT at which a service's port is published."""
        return self.compose("port", service, str(port)).strip()

    def containers(self) -> list[str]:
        """Return the ids of this project's containers."""
        return self.compose("ps", "--all", "--quiet").split()

    def leftovers(self) -> list[str]:
        """Return the containers, volumes and networks of this project that still exist."""
        label = f"label=com.docker.compose.project={self.name}"
        kinds = (("container", "ls", "--all"), ("volume", "ls"), ("network", "ls"))
        return [
            line
            for kind in kinds
            for line in self.engine.run(*kind, "--filter", label).splitlines()[1:]
        ]


@contextmanager
def compose_project(
    engine: Engine, folder: Path, *services: str, files: tuple[str, ...] = ("compose.yaml",)
) -> Iterator[Project]:
    """Start compose.yaml from this work tree, wait until it is healthy, remove it at the end.

    Args:
        engine: The engine that runs it.
        folder: Gets the secrets.
        services: The services to start; those they depend on start too.
        files: compose.yaml, and what changes it.

    Raises:
        DockerError: It does not start; notes hold the end of all logs, and what the health checks said.
    """
    name = f"lamplighter-test-{secrets.token_hex(4)}"
    project = Project(engine, name, folder / "secrets", files)
    subprocess.run(
        [REPOSITORY / "deploy/compose/secrets.sh", project.secrets], check=True, capture_output=True
    )
    needed = [RABBITMQ, POSTGRES, *([PROMETHEUS] if "prometheus" in services else [])]
    for image in needed:
        ensure_image(engine, image)
    try:
        for tag, target in project.images.items():
            build_image(engine, tag, target)
        try:
            wait = ("--wait", "--wait-timeout", str(UP_TIMEOUT))
            project.compose("up", "--detach", "--no-build", *wait, *services)
            yield project
        except BaseException as error:
            error.add_note(project.compose("logs", "--no-color", "--tail", "40"))
            error.add_note(engine.run("inspect", "--format", _HEALTH, *project.containers()))
            raise
        finally:
            project.compose("down", "--volumes", "--remove-orphans")
    finally:
        engine.run("image", "rm", "--force", *project.images)
