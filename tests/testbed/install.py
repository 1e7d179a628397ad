"""Install the Debian packages of one target: python -m tests.testbed.install demo|test [--check].

As root on Debian or Ubuntu, install the missing packages without starting any daemon. Elsewhere,
print one line that says what to install and exit with status 3. This module runs before the virtual
environment exists, so it imports the standard library only.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tests.testbed.openstack.system import SYSTEM_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXIT_MISSING = 3
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Package -> the file that shows it is installed: a program on the PATH, or a pattern below /.
DEMO_PACKAGES = {
    "rabbitmq-server": "usr/lib/rabbitmq/bin/rabbitmq-server",
    "munge": "munged",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurm-client": "scontrol",
    "slurm-wlm-basic-plugins": "usr/lib/*/slurm-wlm/auth_munge.so",
    "iproute2": "ss",
    "procps": "ps",
    "util-linux": "unshare",
}
# Docker is not listed: tests.testbed.docker installs it if no Docker engine answers.
TEST_PACKAGES = {
    **DEMO_PACKAGES,
    **SYSTEM_PACKAGES,
    "postgresql": "usr/lib/postgresql/*/bin/initdb",
    "prometheus": "promtool",
    "sqlite3": "sqlite3",
    "chromium": "chromium",
    "man-db": "man",
    "systemd": "systemd-analyze",
    # The firewall of the example for nodes.
    "nftables": "nft",
    # A storm loses packets.
    "iptables": "iptables",
    # The clock that a storm steps is compiled.
    "gcc": "cc",
    "libc6-dev": "usr/include/time.h",
    # Playwright's own Node needs it.
    "libatomic1": "usr/lib/*/libatomic.so.1",
}
PACKAGES: dict[str, Mapping[str, str]] = {"demo": DEMO_PACKAGES, "test": TEST_PACKAGES}

# Debian's maintainer scripts run this before they start a daemon; status 101 forbids the start.
POLICY = Path("/usr/sbin/policy-rc.d")
FORBID_START = "#!/bin/sh\n# Made by Lamplighter's test bed during an installation; may be deleted.\nexit 101\n"
SYSTEMD = Path("/run/systemd/system")


def missing_packages(packages: Mapping[str, str]) -> list[str]:
    """Return the packages whose file does not exist."""
    missing = [package for package, file in packages.items() if not _exists(file)]
    if not importlib.util.find_spec("ensurepip"):
        # On Debian, `venv` needs a package of the interpreter's version.
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    return missing


def install(packages: list[str]) -> bool:
    """Install packages with apt-get; return whether it succeeded."""
    _print(f"Installing {', '.join(packages)} without starting daemons")
    with _no_daemons():
        installed = _apt("install", *packages)
        if not installed:
            _print("Updating the package lists")
            installed = _apt("update") and _apt("install", *packages)
    if installed and SYSTEMD.exists():
        _print("The packages' services will start at the next boot, as is usual on Debian")
    return installed


def can_install() -> bool:
    """Whether this is Debian or Ubuntu and we are root."""
    return os.geteuid() == 0 and shutil.which("apt-get", path=PATH) is not None


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.install")
    parser.add_argument("target", choices=PACKAGES, help="the make target to install packages for")
    parser.add_argument("--check", action="store_true", help="only report what is missing")
    options = parser.parse_args(arguments)
    # Leave through `finally` on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    wanted = PACKAGES[options.target]
    missing = missing_packages(wanted)
    if missing and not options.check and can_install() and install(missing):
        missing = missing_packages(wanted)
    if missing:
        command = f"apt-get install --no-install-recommends {' '.join(missing)}"
        _print(f"Packages are missing; as root on Debian or Ubuntu run: {command}", sys.stderr)
        return EXIT_MISSING
    _print(f"All system packages for `make {options.target}` are installed.")
    return 0


def _exists(file: str) -> bool:
    if "/" in file:
        return any(Path("/").glob(file))
    return shutil.which(file, path=PATH) is not None


def _apt(action: str, *packages: str) -> bool:
    """Run apt-get; show the end of its output if it fails."""
    argv = [
        *("/usr/bin/apt-get", action, "--yes", "-o", "DPkg::Lock::Timeout=300"),
        *(["--no-install-recommends", *packages] if packages else []),
    ]
    env = {
        **os.environ,
        "PATH": PATH,
        "DEBIAN_FRONTEND": "noninteractive",
        # PostgreSQL's scripts fail if the environment names a locale that is not generated.
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        _print("\n".join(done.stdout.splitlines()[-5:]), sys.stderr)
    return done.returncode == 0


def _print(text: str, stream: TextIO = sys.stdout) -> None:
    stream.write(f"{text}\n")
    stream.flush()


@contextmanager
def _no_daemons() -> Iterator[None]:
    """Forbid maintainer scripts to start daemons, unless the machine already has a policy."""
    # A killed run may have left our policy behind.
    if POLICY.exists() and POLICY.read_text() != FORBID_START:
        yield
        return
    POLICY.write_text(FORBID_START)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
