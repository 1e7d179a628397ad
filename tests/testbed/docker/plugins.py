"""Add compose and buildx to a docker command that lacks them."""

from __future__ import annotations

import dataclasses

from tests.testbed.docker import locks
from tests.testbed.docker.client import Engine, docker_cache
from tests.testbed.docker.images import BASE, ensure_image

# Debian 12 has neither; the programs of Debian 13's packages also run there.
FETCH = """
cd /tmp
apt-get update -qq
apt-get download -qq docker-compose docker-buildx
for package in *.deb; do dpkg -x "$package" unpacked; done
cp unpacked/usr/libexec/docker/cli-plugins/docker-* /fetched/
"""


def with_plugins(engine: Engine) -> Engine:
    """Return the engine with `docker compose` and `docker buildx` (3 s the first time).

    Raises:
        DockerError: A plugin is missing and cannot be downloaded.
    """
    if _complete(engine):
        return engine
    config = docker_cache() / "client"
    equipped = dataclasses.replace(
        engine, environment=dict(engine.environment) | {"DOCKER_CONFIG": str(config)}
    )
    with locks.exclusive(docker_cache() / "plugins.lock"):
        if not _complete(equipped):
            ensure_image(engine, BASE)
            folder = config / "cli-plugins"
            folder.mkdir(parents=True, exist_ok=True)
            mount = f"{folder}:/fetched"
            engine.run(
                *("run", "--rm", "--network", "host", "--volume", mount),
                *(BASE, "sh", "-ec", FETCH),
            )
    return equipped


def _complete(engine: Engine) -> bool:
    return engine.succeeds("compose", "version") and engine.succeeds("buildx", "version")
