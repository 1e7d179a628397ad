"""Install the cloud's Python and npm packages into the cache, once per version of the lock files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.docker.locks import exclusive
from tests.testbed.folders import cache_folder

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Software:
    """Installed packages.

    Attributes:
        venv: The Python environment of the services.
        oidc: The OpenID provider's folder, with its node_modules.
        root: Their common folder, which may contain more for these versions.
    """

    venv: Path
    oidc: Path
    root: Path


def install(cache: Path | None = None) -> Software:
    """Return the packages of the lock files, installed by this call or an earlier one.

    Raises:
        RuntimeError: pip or npm fails; its output is in the message.
        FileNotFoundError: npm is missing (see `system`).
    """
    root = (cache or cache_folder()) / f"openstack-{_version()}"
    root.mkdir(parents=True, exist_ok=True)
    software = Software(venv=root / "venv", oidc=root / "oidc", root=root)
    complete = root / "complete"
    with exclusive(root / "install.lock"):
        if not complete.exists():
            _install_python(software.venv)
            _install_npm(software.oidc)
            complete.touch()
    return software


def _version() -> str:
    """Return a short hash of everything that determines what is installed."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {os.uname().machine}".encode())
    for name in ("requirements.lock", "oidc/package-lock.json"):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:12]


def _install_python(folder: Path) -> None:
    venv.create(folder, clear=True, with_pip=True)
    command: list[str | Path] = [folder / "bin/pip", "install", "--quiet", "--require-hashes"]
    # The lock file is complete, so there is nothing to resolve.
    _run([*command, "--no-deps", "--requirement", HERE / "requirements.lock"])


def _install_npm(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(HERE / "oidc" / name, folder)
    _run(["/usr/bin/npm", "ci", "--silent"], folder)


def _run(command: list[str | Path], folder: Path | None = None) -> None:
    # With the caller's environment, which configures access to the registries.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} {command[1]} failed:\n{done.stdout}{done.stderr}")
