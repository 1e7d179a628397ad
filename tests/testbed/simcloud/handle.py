"""Run a simulated cloud in a child process for the duration of a ``with`` block."""

import sys
import tempfile
from pathlib import Path
from typing import Self

import msgspec

from tests.testbed.processes import Child, tail
from tests.testbed.simcloud.client import SimControl
from tests.testbed.simcloud.settings import Config
from tests.testbed.waiting import until

_REPOSITORY = Path(__file__).resolve().parents[3]


class SimCloud(SimControl):
    """Runs a simulation on 127.0.0.1: ``with SimCloud() as cloud:``.

    It is a :class:`SimControl`, so it has ``url``, ``auth_url`` and the control API's methods.
    The cloud's user names and secrets are the constants of ``credentials``.
    """

    def __init__(self, config: Config | None = None, *, port: int = 0) -> None:
        """Start nothing yet; port 0 means any free port."""
        self._config = config or Config()
        super().__init__("http://127.0.0.1", self._config.settings)
        self._port = port
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: Child | None = None

    @property
    def process(self) -> Child:
        """The simulation's process.

        Raises:
            RuntimeError: the simulation was not started.
        """
        if self._process is None:
            raise RuntimeError("the simulated cloud is not running: use it in a with block")
        return self._process

    def start(self, timeout_seconds: float = 30.0) -> None:
        """Start the process and wait until it listens.

        Raises:
            RuntimeError: it ended or took too long; the message holds its output.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="simcloud-")
        folder = Path(self._folder.name)
        config, ready, log = folder / "config.json", folder / "ready", folder / "log"
        config.write_bytes(msgspec.json.encode(self._config))
        process = self._process = Child(
            [
                *(sys.executable, "-m", "tests.testbed.simcloud"),
                *("--port", str(self._port), "--config", config, "--ready-file", ready),
            ],
            log=log,
            cwd=_REPOSITORY,
        )
        try:
            until(
                lambda: ready.exists() or not process.running,
                timeout_seconds,
                "the simulated cloud",
                interval=0.01,
            )
            process.require_running()
            self.url = ready.read_text()
        except (OSError, RuntimeError) as error:
            output = tail(log)
            self.stop()
            raise RuntimeError(f"the simulated cloud did not start: {output}") from error

    def stop(self) -> int:
        """Stop the process and return its exit status; 0 if it was not running."""
        self.close()
        status = 0 if self._process is None else self._process.stop(grace=15.0)
        self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        return status

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
