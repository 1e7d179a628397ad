"""A wall clock that a test steps, for programs that are started with its environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.processes import MINIMAL_ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCE = Path(__file__).with_suffix(".c")
_NS = 10**9


class SteppedClock:
    """Compiles a library into `folder`; programs that preload it see a clock that `step` moves.

    Raises:
        RuntimeError: there is no C compiler; the message holds the remedy.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc", path=MINIMAL_ENVIRONMENT["PATH"])
        if compiler is None:
            raise RuntimeError("no cc: install the packages gcc and libc6-dev")
        self._library, self._ahead = folder / "stepped-clock.so", folder / "stepped-clock"
        self._ahead.write_bytes(bytes(8))
        subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-o", self._library, _SOURCE],
            env=dict(MINIMAL_ENVIRONMENT),
            check=True,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program needs in its environment."""
        return {"LD_PRELOAD": str(self._library), "STEPPED_CLOCK": str(self._ahead)}

    def step(self, seconds: float) -> None:
        """Let the clock be so far ahead of the machine's."""
        with self._ahead.open("r+b") as file:
            file.write(int(seconds * _NS).to_bytes(8, "little", signed=True))
