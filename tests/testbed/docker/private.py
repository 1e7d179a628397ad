"""A dockerd without systemd, shared by all test runs of a machine and ended after the last."""

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

# One engine a machine: two would fight over the bridge docker0 and over iptables. The path is
# short because containerd's socket below it may not exceed 107 bytes.
RUN = Path("/run/lamplighter-testbed")
REPOSITORY = Path(__file__).parents[3]
START_TIMEOUT = 60.0


@dataclass(frozen=True)
class PrivateEngine:
    """Where the engine keeps what.

    Attributes:
        run: Sockets, locks and the log; gone at the next boot.
        cache: Images, kept from run to run, and Docker's client configuration.
    """

    run: Path
    cache: Path

    @property
    def host(self) -> str:
        """What DOCKER_HOST must be."""
        return f"unix://{self.run}/docker.sock"

    @property
    def users(self) -> Path:
        """The lock that every user shares."""
        return self.run / "users.lock"

    @property
    def kept(self) -> Path:
        """The lock that the engine's keeper holds as long as it lives."""
        return self.run / "keeper.lock"

    @property
    def pidfile(self) -> Path:
        """Holds dockerd's pid."""
        return self.run / "dockerd.pid"

    @property
    def log(self) -> Path:
        """All that dockerd prints."""
        return self.run / "dockerd.log"

    def is_kept(self) -> bool:
        """Whether dockerd has a living keeper."""
        with locks.opened(self.kept) as lock:
            return not locks.alone(lock)

    @property
    def environment(self) -> dict[str, str]:
        """What Docker's clients have to know."""
        return {
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self.cache / "client"),
            **TESTCONTAINERS,
        }

    def argv(self) -> list[str]:
        """How dockerd is called."""
        return [
            "dockerd",
            *("--host", self.host),
            *("--data-root", str(self.cache / "data")),
            *("--exec-root", str(self.run / "exec")),
            *("--pidfile", str(self.pidfile)),
            # Ports are published on loopback alone, whatever a container asks for.
            *("--ip", "127.0.0.1"),
        ]


@contextmanager
def private_engine(cache: Path) -> Iterator[Engine]:
    """Use the machine's private engine, which is started if it does not run (about 2 s).

    Args:
        cache: Keeps the images of an engine that is started here.

    Raises:
        DockerError: It did not start; the text holds the end of its log.
    """
    RUN.mkdir(mode=0o700, exist_ok=True)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    here = PrivateEngine(RUN, cache)
    engine = Engine("private dockerd", here.environment)
    with locks.opened(here.users) as users:
        with locks.exclusive(RUN / "start.lock"):
            # Waits while a keeper ends the engine after its last user.
            fcntl.flock(users, fcntl.LOCK_SH)
            if not engine.succeeds("version"):
                _start(here, engine)
        try:
            yield engine
        finally:
            _leave(here, users)


def _start(here: PrivateEngine, engine: Engine) -> None:
    # Of a dockerd that was killed; it would not start over it if that pid lives again.
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
    """Remove what killed runs have left; whoever starts the engine is its only user."""
    if left := engine.run("ps", "--all", "--quiet").split():
        engine.run("rm", "--force", "--volumes", *left)
    engine.run("network", "prune", "--force")
    engine.run("volume", "prune", "--force")
    engine.run("image", "prune", "--force")


def _leave(here: PrivateEngine, users: int) -> None:
    """The last one to leave ends the engine and waits for that."""
    if not locks.alone(users):
        return
    # The keeper reaps dockerd only after it has ended, so the pid is no stranger's.
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(here.pidfile.read_text()), signal.SIGTERM)
    with locks.exclusive(here.kept):
        pass
