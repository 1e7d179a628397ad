"""The Docker engine for tests: one that answers already, else a private one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.testbed.docker import debian
from tests.testbed.docker.client import TESTCONTAINERS, DockerError, Engine, cache_folder
from tests.testbed.docker.plugins import with_plugins
from tests.testbed.docker.private import private_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = {"docker": "docker.io", "dockerd": "docker.io"}


@contextmanager
def docker_engine() -> Iterator[Engine]:
    """Yield an engine with compose and BuildKit; a private one ends with its last user.

    Debian's package docker.io is installed where no engine answers and we are root.

    Raises:
        DockerError: There is none and none can be started; the text names the remedy.
    """
    present = Engine("the Docker engine of this machine", TESTCONTAINERS)
    if present.succeeds("version"):
        yield with_plugins(present)
        return
    try:
        debian.install(PACKAGES)
    except DockerError as error:
        raise DockerError(f"no Docker engine answers; start one ({error})") from error
    # With systemd, the package has just started an engine.
    if present.succeeds("version"):
        yield with_plugins(present)
        return
    if os.geteuid():
        raise DockerError("no Docker engine answers: start it (systemctl start docker)")
    with private_engine(cache_folder()) as private:
        yield with_plugins(private)
