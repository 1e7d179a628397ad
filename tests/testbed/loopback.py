"""Keeping Slurm's daemons on 127.0.0.1, whatever the machine is called.

Told to, they bind only the address that the kernel's host name resolves to. As root we give them
a UTS namespace in which that name is localhost; anybody else needs a name that is already local.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Loopback:
    """How to start programs for which the host name resolves to 127.0.0.1.

    Attributes:
        host: The name they see (the short form, as Slurm compares it).
        unshare: Options for unshare(1).
        rename: The beginning of the command inside the new namespaces.
    """

    host: str
    unshare: tuple[str, ...] = ()
    rename: tuple[str, ...] = ()

    @property
    def prefix(self) -> list[str]:
        """What to put in front of a command."""
        return ["unshare", *self.unshare, *self.rename] if self.unshare else []


def loopback() -> Loopback:
    """Find out how it can be done here.

    Raises:
        RuntimeError: It cannot; the message says what to do.
    """
    if os.geteuid() == 0:
        rename = 'echo localhost >/proc/sys/kernel/hostname && exec "$@"'
        return Loopback("localhost", ("--uts",), ("sh", "-c", rename, "sh"))
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        address = "nothing"
    if not address.startswith("127."):
        raise RuntimeError(
            f"Slurm's daemons would not stay on loopback: the name of this machine, {name}, "
            f"resolves to {address}. Run as root, or add '127.0.1.1 {name}' to /etc/hosts."
        )
    return Loopback(name.partition(".")[0])
