"""Run the docker command against one engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.testbed.folders import cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


# Ports are published on loopback. On a machine that is itself a container, testcontainers would look
# for them elsewhere.
TESTCONTAINERS = {"TESTCONTAINERS_CONNECTION_MODE": "docker_host"}


NO_COMMAND = "there is no docker command: install the package docker-cli (or docker.io)"


class DockerError(RuntimeError):
    """A docker command failed, or no engine is available; the message holds its output or the remedy."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers.

    Attributes:
        description: What it is, for reports.
        environment: Variables that a Docker client needs in addition to the caller's environment,
            such as DOCKER_HOST. testcontainers needs them too.
    """

    description: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        *arguments: str | Path,
        text: str | None = None,
        timeout: float = 600.0,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run `docker ARGUMENTS` and return its standard output.

        Args:
            arguments: No secrets: every user can read them.
            text: Standard input.
            timeout: Seconds.
            env: More variables for the environment.

        Raises:
            DockerError: It failed or took too long; the message holds the end of its output.
        """
        argv = ["docker", *map(str, arguments)]
        try:
            done = subprocess.run(
                argv,
                input=text or "",
                env=os.environ | self.environment | dict(env or {}),
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise DockerError(NO_COMMAND) from error
        except subprocess.TimeoutExpired as error:
            raise DockerError(f"{' '.join(argv)}: still running after {timeout:g} s") from error
        if done.returncode:
            raise DockerError(f"{' '.join(argv)}: {done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout

    def succeeds(self, *arguments: str | Path, timeout: float = 30.0) -> bool:
        """Whether `docker ARGUMENTS` exits with 0.

        Raises:
            DockerError: There is no docker command, so that waiting for success would be useless.
        """
        if not has_command():
            raise DockerError(NO_COMMAND)
        try:
            self.run(*arguments, timeout=timeout)
        except DockerError:
            return False
        return True


def has_command() -> bool:
    """Whether the docker command is installed."""
    return shutil.which("docker") is not None


def docker_cache() -> Path:
    """Return the folder of images and programs that later runs reuse; create it if needed."""
    folder = cache_folder() / "docker"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
