"""Run a dockerd without systemd. All test runs of a machine share it; it stops after the last one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.docker import locks
from tests.testbed.docker.client import TESTCONTAINERS, DockerError, Engine
from tests.testbed.processes import MINIMAL_ENVIRONMENT, tail
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# One engine per machine: two would conflict over the bridge docker0 and over iptables. The path is
# short because the path of containerd's socket below it may have at most 107 bytes.
RUN = Path("/run/lamplighter-testbed")
REPOSITORY = Path(__file__).parents[3]
START_TIMEOUT = 60.0


@dataclass(frozen=True)
class PrivateEngine:
    """The files of the engine.

    Attributes:
        run: The folder of sockets, locks and the log; the next boot removes it.
        cache: The folder of images, which later runs reuse, and of Docker's client configuration.
    """

    run: Path
    cache: Path

    @property
    def host(self) -> str:
        """The value of DOCKER_HOST."""
        return f"unix://{self.run}/docker.sock"

    @property
    def users(self) -> Path:
        """The lock file that all users of the engine share."""
        return self.run / "users.lock"

    @property
    def kept(self) -> Path:
        """The lock file that the keeper holds while it runs."""
        return self.run / "keeper.lock"

    @property
    def pidfile(self) -> Path:
        """The file with dockerd's pid."""
        return self.run / "dockerd.pid"

    @property
    def log(self) -> Path:
        """The output of dockerd."""
        return self.run / "dockerd.log"

    def is_kept(self) -> bool:
        """Whether the keeper runs."""
        with locks.opened(self.kept) as lock:
            return not locks.alone(lock)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that Docker clients need."""
        return {
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self.cache / "client"),
            **TESTCONTAINERS,
        }

    def argv(self) -> list[str]:
        """The command line of dockerd."""
        return [
            "dockerd",
            *("--host", self.host),
            *("--data-root", str(self.cache / "data")),
            *("--exec-root", str(self.run / "exec")),
            *("--pidfile", str(self.pidfile)),
            # Publish ports on loopback only.
            *("--ip", "127.0.0.1"),
        ]


@contextmanager
def private_engine(cache: Path) -> Iterator[Engine]:
    """Use the machine's private engine; start it if it does not run (about 2 s).

    Args:
        cache: Keeps the images, if the engine is started here.

    Raises:
        DockerError: It did not start; the message holds the end of its log.
    """
    RUN.mkdir(mode=0o700, exist_ok=True)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    here = PrivateEngine(RUN, cache)
    engine = Engine("private dockerd", here.environment)
    with locks.opened(here.users) as users:
        with locks.exclusive(RUN / "start.lock"):
            # Waits while a keeper stops the engine after its last user.
            fcntl.flock(users, fcntl.LOCK_SH)
            if not engine.succeeds("version"):
                _start(here, engine)
        try:
            yield engine
        finally:
            _leave(here, users)


def _start(here: PrivateEngine, engine: Engine) -> None:
    # A killed dockerd leaves its pidfile; if that pid is in use again, dockerd would not start.
    here.pidfile.unlink(missing_ok=True)
    here.log.unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, "-m", "tests.testbed.docker.keeper", str(here.run), str(here.cache)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=MINIMAL_ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        check=True,
    )
    try:
        until(
            lambda: engine.succeeds("version") or not here.is_kept(),
            START_TIMEOUT,
            "dockerd",
        )
    except TimeoutError as error:
        raise DockerError(f"dockerd does not answer:\n{tail(here.log)}") from error
    if not here.is_kept():
        raise DockerError(f"dockerd has ended:\n{tail(here.log)}")
    _sweep(engine)


def _sweep(engine: Engine) -> None:
    """Remove what killed runs left behind; the caller has just started the engine and is its only user."""
    if left := engine.run("ps", "--all", "--quiet").split():
        engine.run("rm", "--force", "--volumes", *left)
    engine.run("network", "prune", "--force")
    engine.run("volume", "prune", "--force")
    engine.run("image", "prune", "--force")


def _leave(here: PrivateEngine, users: int) -> None:
    """If this is the last user, stop the engine and wait for its end."""
    if not locks.alone(users):
        return
    # The keeper reaps dockerd only after its end, so the pid cannot belong to another process.
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(here.pidfile.read_text()), signal.SIGTERM)
    with locks.exclusive(here.kept):
        pass
