"""Install what the test bed needs of the system: python -m tests.testbed.install [--check].

As root on Debian or Ubuntu it installs what is missing, and no daemon is started by that. Elsewhere
it prints one line saying what to install and exits 3. It runs before there is a virtual
environment, so it needs the standard library only.
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
    from collections.abc import Iterator

EXIT_MISSING = 3
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Package -> what it is wanted for: a program on the PATH, or else a pattern below /.
PROGRAMS = {
    "rabbitmq-server": "usr/lib/rabbitmq/bin/rabbitmq-server",
    "munge": "munged",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurm-client": "scontrol",
    "slurm-wlm-basic-plugins": "usr/lib/*/slurm-wlm/auth_munge.so",
    "postgresql": "usr/lib/postgresql/*/bin/initdb",
    "iproute2": "ss",
    "procps": "ps",
    "util-linux": "unshare",
    "prometheus": "promtool",
    "chromium": "chromium",
    # Playwright's own Node needs it
    "libatomic1": "usr/lib/*/libatomic.so.1",
    **SYSTEM_PACKAGES,
}

# What Debian's maintainer scripts ask before they start a daemon; 101 means "do not".
POLICY = Path("/usr/sbin/policy-rc.d")
FORBID_START = "#!/bin/sh\n# Of Lamplighter's test bed, for the time of an installation; may be deleted.\nexit 101\n"
SYSTEMD = Path("/run/systemd/system")


def missing_packages() -> list[str]:
    """Return the packages whose program is not there."""
    missing = [package for package, wanted in PROGRAMS.items() if not _is_there(wanted)]
    if not importlib.util.find_spec("ensurepip"):
        # Debian's interpreter has no `venv` that works without this package of its own version.
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    return missing


def install(packages: list[str]) -> bool:
    """Install packages with apt-get; return whether it succeeded."""
    _say(f"Installing {', '.join(packages)}; no daemon is started now")
    with _no_daemons():
        installed = _apt("install", *packages)
        if not installed:
            _say("Reading the package lists anew")
            installed = _apt("update") and _apt("install", *packages)
    if installed and SYSTEMD.exists():
        _say("As usual for Debian packages, their services start with the machine from now on")
    return installed


def can_install() -> bool:
    """Whether this is a Debian or Ubuntu on which we may install."""
    return os.geteuid() == 0 and shutil.which("apt-get", path=PATH) is not None


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.install")
    parser.add_argument(
        "--check", action="store_true", help="install nothing, only say what is missing"
    )
    options = parser.parse_args(arguments)
    # Clean up then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    missing = missing_packages()
    if missing and not options.check and can_install() and install(missing):
        missing = missing_packages()
    if missing:
        command = f"apt-get install --no-install-recommends {' '.join(missing)}"
        _say(f"Missing here, to be installed as root on Debian or Ubuntu: {command}", sys.stderr)
        return EXIT_MISSING
    _say("All system packages that the tests and the demo need are there.")
    return 0


def _is_there(wanted: str) -> bool:
    if "/" in wanted:
        return any(Path("/").glob(wanted))
    return shutil.which(wanted, path=PATH) is not None


def _apt(action: str, *packages: str) -> bool:
    """Run apt-get; show what it says only if it fails."""
    argv = [
        *("/usr/bin/apt-get", action, "--yes", "-o", "DPkg::Lock::Timeout=300"),
        *(["--no-install-recommends", *packages] if packages else []),
    ]
    env = {
        **os.environ,
        "PATH": PATH,
        "DEBIAN_FRONTEND": "noninteractive",
        # A locale that is named but not generated makes PostgreSQL's scripts fail.
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        _say("\n".join(done.stdout.splitlines()[-5:]), sys.stderr)
    return done.returncode == 0


def _say(text: str, stream: TextIO = sys.stdout) -> None:
    stream.write(f"{text}\n")
    stream.flush()


@contextmanager
def _no_daemons() -> Iterator[None]:
    """Forbid maintainer scripts to start daemons, unless the machine has a policy already."""
    # Ours may have been left by a run that was killed.
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
