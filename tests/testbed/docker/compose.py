"""A private run of this repository's compose.yaml."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.testbed.docker.build import REPOSITORY, build_image
from tests.testbed.docker.images import POSTGRES, RABBITMQ, ensure_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.docker.client import Engine

UP_TIMEOUT = 180


@dataclass(frozen=True)
class Project:
    """Services of compose.yaml under a name, with secrets, images and ports of their own.

    Attributes:
        engine: Where they run.
        name: The project's.
        secrets: The folder of their secrets.
    """

    engine: Engine
    name: str
    secrets: Path

    @property
    def images(self) -> dict[str, str | None]:
        """Our images and the stages of the Dockerfile they are built from."""
        return {f"lamplighter:{self.name}": None, f"lamplighter-demo:{self.name}": "demo"}

    def compose(self, *arguments: str, timeout: float = 300.0) -> str:
        """Run `docker compose ARGUMENTS`, all profiles in view, and return its output.

        Raises:
            DockerError: It failed.
        """
        return self.engine.run(
            *("compose", "--ansi", "never", "--project-name", self.name, "--profile", "*"),
            *("--project-directory", REPOSITORY, "--file", REPOSITORY / "compose.yaml"),
            *arguments,
            timeout=timeout,
            env={
                "LAMPLIGHTER_TAG": self.name,
                "LAMPLIGHTER_SECRETS": str(self.secrets),
                # Empty: any free port.
                "LAMPLIGHTER_AMQP_PORT": "",
                "LAMPLIGHTER_MANAGEMENT_PORT": "",
                "LAMPLIGHTER_SIMCLOUD_PORT": "",
                "LAMPLIGHTER_CONSOLE_PORT": "",
            },
        )

    def run(self, *command: str) -> str:
        """Run a command as slurmctld's host would, in a new container; return its output.

        Raises:
            DockerError: It failed.
        """
        return self.compose("run", "--rm", "--no-deps", "-T", "hook", *command)

    def address(self, service: str, port: int) -> str:
        """Return HOST:PORT where a service's port is published."""
        return self.compose("port", service, str(port)).strip()

    def containers(self) -> list[str]:
        """Return the ids of this project's containers."""
        return self.compose("ps", "--all", "--quiet").split()

    def leftovers(self) -> list[str]:
        """Return what the engine still has of this project: containers, volumes, networks."""
        label = f"label=com.docker.compose.project={self.name}"
        kinds = (("container", "ls", "--all"), ("volume", "ls"), ("network", "ls"))
        return [
            line
            for kind in kinds
            for line in self.engine.run(*kind, "--filter", label).splitlines()[1:]
        ]


@contextmanager
def compose_project(engine: Engine, folder: Path, *services: str) -> Iterator[Project]:
    """Bring compose.yaml up from this work tree, wait until all is healthy, take it down again.

    Args:
        engine: Where.
        folder: Gets the secrets.
        services: What to start, with what they depend on.

    Raises:
        DockerError: It does not come up; the text holds the end of all logs.
    """
    project = Project(engine, f"lamplighter-test-{secrets.token_hex(4)}", folder / "secrets")
    subprocess.run(
        [REPOSITORY / "deploy/compose/secrets.sh", project.secrets], check=True, capture_output=True
    )
    for image in (RABBITMQ, POSTGRES):
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
            raise
        finally:
            project.compose("down", "--volumes", "--remove-orphans")
    finally:
        engine.run("image", "rm", "--force", *project.images)
