"""A simulated cloud in a process of its own, for as long as a ``with`` block lasts."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.testbed.simcloud.client import SimControl
from tests.testbed.simcloud.settings import Config

_REPOSITORY = Path(__file__).resolve().parents[3]


class SimCloud(SimControl):
    """Starts a simulation on a free port of 127.0.0.1 and stops it at the end.

    ``with SimCloud() as cloud:`` gives a :class:`SimControl` with ``url``, ``auth_url`` and the
    control API's methods; the credentials are the constants of ``credentials``.

    Raises:
        RuntimeError: the simulation did not come up; the message carries its output.
    """

    def __init__(self, config: Config | None = None, *, port: int = 0) -> None:
        super().__init__("http://127.0.0.1")
        self._config = config or Config()
        self._port = port
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The simulation's process id, while it runs."""
        if self._process is None:
            raise RuntimeError("the simulation is not running: use it in a with block")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, timeout_seconds: float = 30.0) -> None:
        """Start the process and wait until it listens."""
        self._folder = tempfile.TemporaryDirectory(prefix="simcloud-")
        folder = Path(self._folder.name)
        config, ready, output = folder / "config.json", folder / "ready", folder / "output"
        config.write_bytes(msgspec.json.encode(self._config))
        command = [sys.executable, "-m", "tests.testbed.simcloud"]
        command += ["--port", str(self._port), "--config", str(config), "--ready-file", str(ready)]
        with output.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=_REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + timeout_seconds
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = output.read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"the simulated cloud did not start: {said}")
            time.sleep(0.01)
        self.url = ready.read_text()

    def stop(self, grace_seconds: float = 15.0) -> None:
        """Stop the process; harmless when it is not running."""
        self.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
