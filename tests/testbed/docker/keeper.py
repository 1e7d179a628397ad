"""Run the private dockerd while it has users.

This is a separate process because test runs share the engine, and the run that started it may end
first. Each user holds a shared lock; when no user holds it any longer (killed users included), the
keeper stops the engine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.testbed.docker import locks
from tests.testbed.docker.private import PrivateEngine
from tests.testbed.processes import Child
from tests.testbed.waiting import until

A_LONG_TIME = 30 * 86_400.0


def keep(engine: PrivateEngine) -> None:
    """Run dockerd until it ends or its last user has gone."""
    with Child(engine.argv(), log=engine.log) as daemon, locks.opened(engine.users) as users:
        until(
            lambda: not daemon.running or locks.alone(users),
            A_LONG_TIME,
            "the last user of the engine",
            interval=0.2,
        )
        # Containers have 10 s to stop. We still hold the lock, so a new user waits for the end.
        daemon.stop(grace=30.0)
        # dockerd does not unmount this.
        mount = engine.run / "exec/netns/default"
        if mount.exists():
            unmount = ["umount", str(mount)]
            subprocess.run(unmount, capture_output=True, check=False)


def main() -> None:
    """Run in the background; return to the caller at once."""
    engine = PrivateEngine(run=Path(sys.argv[1]), cache=Path(sys.argv[2]))
    # Locked before the fork, so that the child inherits the lock and there is no gap.
    with locks.exclusive(engine.kept):
        if os.fork():
            os._exit(0)
        os.setsid()
        keep(engine)


if __name__ == "__main__":
    main()
