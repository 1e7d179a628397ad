"""Keep Slurm's daemons on 127.0.0.1, independent of the machine's host name.

With NoCtldInAddrAny and NoInAddrAny, they bind only the address that the kernel's host name resolves
to. As root, we run them in a UTS namespace whose host name is localhost; other users need a host
name that already resolves to a loopback address.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Loopback:
    """How to start programs so that their host name resolves to 127.0.0.1.

    Attributes:
        host: The host name that they see (the short form, which Slurm compares).
        unshare: Options for unshare(1).
        rename: The beginning of the command inside the new namespaces.
    """

    host: str
    unshare: tuple[str, ...] = ()
    rename: tuple[str, ...] = ()

    @property
    def prefix(self) -> list[str]:
        """The words before a command."""
        return ["unshare", *self.unshare, *self.rename] if self.unshare else []


def loopback() -> Loopback:
    """Find out how this machine can do it.

    Raises:
        RuntimeError: It cannot; the message holds the remedy.
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
            f"Slurm's daemons would listen beyond loopback: this machine's host name, {name}, "
            f"resolves to {address}. Run as root, or add '127.0.1.1 {name}' to /etc/hosts."
        )
    return Loopback(name.partition(".")[0])
