"""Runs the private dockerd for as long as anybody uses it.

A process of its own, because the engine is shared: the run that started it may end before the
others. Users hold a shared lock; when the last is gone, killed ones too, the engine is ended.
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
    """Run dockerd until it ends or its last user has left."""
    with Child(engine.argv(), log=engine.log) as daemon, locks.opened(engine.users) as users:
        until(
            lambda: not daemon.running or locks.alone(users),
            A_LONG_TIME,
            "the last user of the engine",
            interval=0.2,
        )
        # Containers have 10 s to end; still under the lock, so that a newcomer finds it gone.
        daemon.stop(grace=30.0)
        # dockerd leaves this one mounted.
        mount = engine.run / "exec/netns/default"
        if mount.exists():
            unmount = ["umount", str(mount)]
            subprocess.run(unmount, capture_output=True, check=False)


def main() -> None:
    """Return to the caller at once, as a process that nobody has to wait for."""
    engine = PrivateEngine(run=Path(sys.argv[1]), cache=Path(sys.argv[2]))
    # Taken before the fork, which the child inherits it through: the caller sees no gap.
    with locks.exclusive(engine.kept):
        if os.fork():
            os._exit(0)
        os.setsid()
        keep(engine)


if __name__ == "__main__":
    main()
