"""A network namespace of the storm's own, in which packets can be lost without harm to others."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.install import TEST_PACKAGES, missing_packages
from tests.testbed.processes import MINIMAL_ENVIRONMENT

# Names the network namespace that we came from, by its inode.
_OUTSIDE = "STORM_OUTSIDE_NETWORK"
# getaddrinfo(3) with AI_ADDRCONFIG, which slurmctld uses, wants an address that is not the loopback's;
# this one is of TEST-NET-1 (RFC 5737).
_ENTER = 'ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@"'


def is_entered() -> bool:
    """Whether `enter` has brought us here."""
    return os.environ.get(_OUTSIDE, _here()) != _here()


def _here() -> str:
    return str(Path("/proc/self/ns/net").stat().st_ino)


def enter() -> None:
    """Run this program again in a new network namespace; it has a loopback device alone.

    Raises:
        RuntimeError: a program for it is missing; the message holds the remedy.
    """
    needed = {package: TEST_PACKAGES[package] for package in ("util-linux", "iproute2", "iptables")}
    if missing := missing_packages(needed):
        raise RuntimeError(f"packages are missing: run: apt-get install {' '.join(missing)}")
    os.environ[_OUTSIDE] = _here()
    again = [sys.executable, *sys.orig_argv[1:]]
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", _ENTER, "sh", *again])  # noqa: S606, S607


@contextmanager
def packets_lost(port: int) -> Iterator[None]:
    """Lose each packet from and to a port, as where a cable is pulled.

    Raises:
        RuntimeError: we are in the machine's own network namespace.
    """
    if not is_entered():
        raise RuntimeError("packets are lost only in a network namespace of the storm's own")
    rules = [
        ("OUTPUT", "-p", "tcp", side, str(port), "-j", "DROP") for side in ("--dport", "--sport")
    ]
    try:
        for rule in rules:
            _iptables("-A", *rule)
        yield
    finally:
        for rule in rules:
            _iptables("-D", *rule)


def _iptables(*words: str) -> None:
    subprocess.run(
        ["/usr/sbin/iptables", "--wait", *words],
        env=dict(MINIMAL_ENVIRONMENT),
        check=True,
        timeout=30,
    )
