"""Find a Docker engine for tests: the one that answers, else a private one."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.testbed.docker import debian
from tests.testbed.docker.client import (
    NO_COMMAND,
    TESTCONTAINERS,
    DockerError,
    Engine,
    docker_cache,
    has_command,
)
from tests.testbed.docker.plugins import with_plugins
from tests.testbed.docker.private import private_engine

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def docker_engine() -> Iterator[Engine]:
    """Yield an engine with compose and BuildKit; a private one ends with its last user.

    If no engine answers and we are root, install Debian's packages.

    Raises:
        DockerError: No engine answers and none can be started; the message names the remedy.
    """
    present = Engine("the Docker engine of this machine", TESTCONTAINERS)
    if has_command() and present.succeeds("version"):
        yield with_plugins(present)
        return
    try:
        debian.install(packages())
    except DockerError as error:
        raise DockerError(f"no Docker engine answers; start one ({error})") from error
    if not has_command():
        raise DockerError(NO_COMMAND)
    # With systemd, the package has just started an engine.
    if present.succeeds("version"):
        yield with_plugins(present)
        return
    if os.geteuid():
        raise DockerError("no Docker engine answers: start it (systemctl start docker)")
    with private_engine(docker_cache()) as private:
        yield with_plugins(private)


def packages() -> dict[str, str]:
    """Return the Debian package of each program that a private engine needs.

    Up to Debian 12, docker.io contains the docker command; later it only recommends docker-cli.
    """
    client = "docker-cli" if shutil.which("apt-cache") and debian.has_package("docker-cli") else ""
    return {"docker": client or "docker.io", "dockerd": "docker.io"}
