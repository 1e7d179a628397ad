"""The power hook: run a command for each change of a guest's power, in order for each guest."""

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


class PowerHook:
    """Runs commands in threads, one at a time for each guest."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._lines: dict[str, ThreadPoolExecutor] = {}

    def run(self, spec: dict[str, Any] | None, uuid: str, name: str, event: str) -> None:
        """Queue the command of ``spec`` for ``event`` after the guest's earlier ones."""
        if spec is None:
            return
        with self._guard:
            line = self._lines.setdefault(uuid, ThreadPoolExecutor(1, thread_name_prefix=name))
        line.submit(_run, spec, {"{name}": name, "{id}": uuid, "{event}": event, "{address}": ""})


def _run(spec: dict[str, Any], words: dict[str, str]) -> None:
    """Run the command; its output and its failure go to the log file of ``spec``."""
    with Path(spec["log_file"]).open("ab", buffering=0) as log:
        try:
            subprocess.run(
                [_fill(argument, words) for argument in spec["arguments"]],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=spec.get("environment", {}),
                timeout=spec.get("timeout_seconds", 60.0),
                # Processes that the command starts (a slurmd) must not receive Nova's signals.
                start_new_session=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.write(f"{words['{name}']} {words['{event}']}: {error}\n".encode())


def _fill(argument: str, words: dict[str, str]) -> str:
    for placeholder, value in words.items():
        argument = argument.replace(placeholder, value)
    return argument
