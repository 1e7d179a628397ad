"""Building the project's own Dockerfile with this machine's way to Python packages."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.docker.images import BASE, ensure_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.testbed.docker.client import Engine

REPOSITORY = Path(__file__).parents[3]
CA_IN_BUILD = "/run/secrets/ca.crt"
# What says where packages come from; a folder of this machine is not there inside the build.
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def build_image(engine: Engine, tag: str, target: str | None = None) -> None:
    """Build the Dockerfile (about 30 s the first time, then what has changed).

    pip's configuration and the certificate authorities of this machine are lent to the build as
    secrets; the image holds neither.

    Args:
        engine: Gets the image.
        tag: Its name.
        target: A stage of the Dockerfile, by default the last.

    Raises:
        DockerError: It failed; the text holds the end of the output.
    """
    ensure_image(engine, BASE)
    with tempfile.TemporaryDirectory() as folder:
        secrets = build_secrets(Path(folder), _pip_settings(), os.environ)
        engine.run(
            *("build", "--network", "host", "--tag", tag, "--build-arg", f"BASE={BASE}"),
            *(("--target", target) if target else ()),
            *(f"--secret=id={name},src={path}" for name, path in secrets.items()),
            REPOSITORY,
            env={"DOCKER_BUILDKIT": "1"},
        )


def build_secrets(
    folder: Path, settings: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, Path]:
    lines = ["[global]"]
    for name in PIP_SETTINGS:
        words = settings.get(name, "").split()
        if reachable := [word for word in words if not word.startswith(("/", "file:"))]:
            lines.append(f"{name} = {' '.join(reachable)}")
    secrets = {}
    named = [environ.get(variable) for variable in CA_VARIABLES]
    if ca := next((path for path in [settings.get("cert"), *named] if path), None):
        lines.append(f"cert = {CA_IN_BUILD}")
        secrets["ca.crt"] = Path(ca)
    conf = folder / "pip.conf"
    conf.touch(mode=0o600)
    conf.write_text("\n".join([*lines, ""]))
    return secrets | {"pip.conf": conf}


def _pip_settings() -> dict[str, str]:
    """Return pip's settings for all commands, those of the environment first."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = {}
    for scope in ("global.", "install.", ":env:."):
        for line in done.stdout.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(scope):
                found[name.removeprefix(scope)] = ast.literal_eval(value)
    return found
