"""Install Debian packages, and make a base image from this machine's Debian mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.docker import locks
from tests.testbed.docker.client import DockerError, Engine, docker_cache

if TYPE_CHECKING:
    from collections.abc import Mapping

SUITE = "trixie"
# Waits while another process installs packages.
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
TARGET_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"


def install(packages: Mapping[str, str]) -> None:
    """Install the Debian packages of missing programs.

    Args:
        packages: The package of each program.

    Raises:
        DockerError: We are not root, or apt-get failed; the message names the remedy.
    """
    with locks.exclusive(docker_cache() / "install.lock"):
        missing = sorted({package for name, package in packages.items() if not shutil.which(name)})
        if not missing:
            return
        remedy = f"apt-get install --no-install-recommends {' '.join(missing)}"
        if os.geteuid() or not shutil.which("apt-get"):
            raise DockerError(f"{', '.join(missing)} needed; as root: {remedy}")
        install = ("install", "--yes", "--no-install-recommends", *missing)
        try:
            _apt(*install)
        except DockerError:
            # The package lists may be missing or old.
            _apt("update")
            _apt(*install)


def mirror() -> str:
    """Return the URL of the mirror that apt takes Debian packages from.

    Raises:
        DockerError: There is none, for example because this is not Debian.
    """
    argv = ["apt-get", "indextargets", "--format", TARGET_FORMAT, "Created-By: Packages"]
    for line in subprocess.run(
        argv, capture_output=True, text=True, check=True
    ).stdout.splitlines():
        origin, label, uri = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return uri
    raise DockerError("apt has no Debian mirror to build images from (try: apt-get update)")


def has_package(name: str) -> bool:
    """Whether apt can install the package `name`."""
    argv = ["apt-cache", "--no-all-versions", "show", name]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def import_base(engine: Engine, tag: str, label: str) -> None:
    """Make a minimal Debian image whose apt uses this machine's mirror (about 25 s).

    Args:
        engine: Gets the image.
        tag: The image's name.
        label: One label, NAME=VALUE.

    Raises:
        DockerError: It failed; the message holds the end of the output.
    """
    install({"debootstrap": "debootstrap"})
    # The temporary folder may be mounted noexec or nodev.
    with tempfile.TemporaryDirectory(dir=docker_cache()) as folder:
        root = Path(folder) / "root"
        _run("debootstrap", "--variant=minbase", SUITE, str(root), mirror())
        shutil.rmtree(root / "var/cache/apt/archives")
        shutil.rmtree(root / "var/lib/apt/lists")
        archive = Path(folder) / "root.tar"
        _run("tar", "-C", str(root), "-cf", str(archive), ".")
        engine.run("import", "--change", f"LABEL {label}", archive, tag)


def _apt(*arguments: str) -> None:
    _run(*APT, *arguments)


def _run(*argv: str) -> None:
    done = subprocess.run(
        argv,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DockerError(f"{' '.join(argv)}: {done.stdout[-4000:]}")
