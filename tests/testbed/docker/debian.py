"""What this machine's Debian provides: packages, and a base image from its own mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.docker import locks
from tests.testbed.docker.client import DockerError, Engine, cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

SUITE = "trixie"
# Waits for whoever else installs packages at the moment.
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
TARGET_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"


def install(packages: Mapping[str, str]) -> None:
    """Install the Debian packages of programs that are missing.

    Args:
        packages: The package of each program.

    Raises:
        DockerError: We may not, or it failed; the text names the remedy.
    """
    with locks.exclusive(cache_folder() / "install.lock"):
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
            # Package lists that are missing or old.
            _apt("update")
            _apt(*install)


def mirror() -> str:
    """Return the mirror that apt takes Debian itself from.

    Raises:
        DockerError: There is none, as on a machine that is no Debian.
    """
    argv = ["apt-get", "indextargets", "--format", TARGET_FORMAT, "Created-By: Packages"]
    for line in subprocess.run(
        argv, capture_output=True, text=True, check=True
    ).stdout.splitlines():
        origin, label, uri = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return uri
    raise DockerError("apt knows no Debian mirror to build images from (try: apt-get update)")


def import_base(engine: Engine, tag: str, label: str) -> None:
    """Make a minimal Debian image (about 25 s); its apt uses this machine's mirror.

    Args:
        engine: Gets the image.
        tag: The image's name.
        label: One label, NAME=VALUE.

    Raises:
        DockerError: It failed; the text holds the end of the output.
    """
    install({"debootstrap": "debootstrap"})
    # The temporary folder may forbid programs and devices.
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
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
