#!/opt/lamplighter/bin/python
"""A node of the demo: slurmd runs while the simulated cloud says that this server is on.

When it is switched off, all processes of the container end at once, as those of a server do.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request

SERVERS = "http://simcloud:5000/_sim/servers"


def powered() -> bool | None:
    """Whether this server is on; None if the cloud does not answer."""
    try:
        with urllib.request.urlopen(SERVERS, timeout=5) as answer:
            servers = json.load(answer)
    except (OSError, ValueError):
        return None
    return any(server["powered"] for server in servers if server["name"] == socket.gethostname())


def main() -> None:
    """Follow the cloud until the container ends."""
    slurmd: subprocess.Popen[bytes] | None = None
    while True:
        on = powered()
        if on and slurmd is None:
            subprocess.run(["/usr/local/bin/start-munged"], check=True)
            # -b: the node has just booted. Otherwise Slurm sees the boot of the host, which is older than its resume.
            slurmd = subprocess.Popen(["/usr/sbin/slurmd", "-D", "-b"])
        elif on is False and slurmd is not None:
            # All that this user may signal, but for the caller and the first process (kill(2)).
            os.kill(-1, signal.SIGKILL)
            slurmd.wait()
            slurmd = None
        time.sleep(0.3)


if __name__ == "__main__":
    main()
