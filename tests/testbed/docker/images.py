"""Provide images for tests: pull them, or build stand-ins from Debian packages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.docker import debian, locks
from tests.testbed.docker.client import DockerError, Engine, docker_cache

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "debian:trixie-slim"
RABBITMQ = "rabbitmq:4-management"
POSTGRES = "postgres:17"
PROMETHEUS = "prom/prometheus:v3.5.0"

# The folders of the stand-ins; each Dockerfile starts from BASE.
STANDINS = {
    RABBITMQ: Path(__file__).parent / "standins" / "rabbitmq",
    POSTGRES: Path(__file__).parent / "standins" / "postgres",
    PROMETHEUS: Path(__file__).parent / "standins" / "prometheus",
}
# Only stand-ins have this label: the hash of everything they are made from.
LABEL = "lamplighter.testbed.recipe"
PULL_TIMEOUT = 300.0


def ensure_image(engine: Engine, reference: str) -> None:
    """Make sure that the engine has an image, and that a stand-in is up to date.

    Args:
        engine: The engine that needs the image.
        reference: BASE, RABBITMQ, POSTGRES, or another image that can be pulled.

    Raises:
        DockerError: The image can be neither pulled nor built.
    """
    with locks.exclusive(docker_cache() / "images.lock"):
        if not _is_usable(engine, reference):
            _provide(engine, reference)


def _is_usable(engine: Engine, reference: str) -> bool:
    try:
        answer = engine.run("image", "inspect", "--format", "{{json .Config.Labels}}", reference)
    except DockerError:
        return False
    recipe = (json.loads(answer) or {}).get(LABEL)
    return recipe is None or recipe == _recipe(reference)


def _provide(engine: Engine, reference: str) -> None:
    try:
        engine.run("pull", "--quiet", reference, timeout=PULL_TIMEOUT)
    except DockerError as error:
        if reference != BASE and reference not in STANDINS:
            raise
        pull = error
    else:
        return
    try:
        _build_standin(engine, reference)
    except DockerError as error:
        raise DockerError(f"{reference} can be neither pulled ({pull}) nor built") from error


def _build_standin(engine: Engine, reference: str) -> None:
    label = f"{LABEL}={_recipe(reference)}"
    if reference == BASE:
        debian.import_base(engine, reference, label)
        return
    if not _is_usable(engine, BASE):
        _provide(engine, BASE)
    engine.run(
        *("build", "--network", "host", "--label", label, "--tag", reference),
        STANDINS[reference],
        env={"DOCKER_BUILDKIT": "1"},
    )


def _recipe(reference: str) -> str:
    digest = hashlib.sha256()
    for part in _ingredients(reference):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def _ingredients(reference: str) -> Iterator[bytes]:
    yield from (debian.SUITE.encode(), debian.mirror().encode())
    if reference in STANDINS:
        for path in sorted(STANDINS[reference].iterdir()):
            yield from (path.name.encode(), path.read_bytes())
