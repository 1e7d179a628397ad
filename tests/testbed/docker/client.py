"""The docker command, aimed at one engine; what is kept for it from run to run."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


# Ports are published on loopback. Where this machine is itself a container, testcontainers would
# look for them elsewhere.
TESTCONTAINERS = {"TESTCONTAINERS_CONNECTION_MODE": "docker_host"}


class DockerError(RuntimeError):
    """A docker command failed, or there is no engine; the text says what to do or what it said."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers.

    Attributes:
        description: What it is, for people.
        environment: What a Docker client needs beside the caller's own environment, such as
            DOCKER_HOST. testcontainers needs it too.
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
            arguments: No secrets, everybody can read them.
            text: Standard input.
            timeout: Seconds.
            env: More of the environment.

        Raises:
            DockerError: It failed or took too long; the text holds the end of what it printed.
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
            raise DockerError("there is no docker command: install Docker") from error
        except subprocess.TimeoutExpired as error:
            raise DockerError(f"{' '.join(argv)}: no end within {timeout:g} s") from error
        if done.returncode:
            raise DockerError(f"{' '.join(argv)}: {done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout

    def succeeds(self, *arguments: str | Path, timeout: float = 30.0) -> bool:
        """Whether `docker ARGUMENTS` exits with 0."""
        try:
            self.run(*arguments, timeout=timeout)
        except DockerError:
            return False
        return True


def cache_folder() -> Path:
    """Return (and make) the folder of images and programs that the next run uses again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "lamplighter-testbed" / "docker"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
