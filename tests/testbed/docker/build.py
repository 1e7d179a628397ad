"""Build the project's Dockerfile with this machine's pip configuration."""

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
# pip's settings about package sources. Local folders are left out: the build cannot see them.
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def build_image(engine: Engine, tag: str, target: str | None = None) -> None:
    """Build the Dockerfile (about 30 s the first time, later only what has changed).

    The build gets pip's configuration and the certificate authorities of this machine as secrets;
    they do not become part of the image.

    Args:
        engine: Gets the image.
        tag: The image's name.
        target: A stage of the Dockerfile; by default the last one.

    Raises:
        DockerError: It failed; the message holds the end of the output.
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
    """Write pip.conf into `folder`; return the build's secrets by id.

    Args:
        folder: Gets pip.conf.
        settings: pip's settings by name.
        environ: May name a file of certificate authorities.
    """
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
    """Return pip's settings for all commands; those from the environment take precedence."""
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
