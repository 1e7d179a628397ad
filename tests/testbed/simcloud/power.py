"""The power hook: run a command for each change of a server's power, in order for each server."""

import asyncio
import subprocess
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from tests.testbed.simcloud.settings import HookSpec

_AT_ONCE = 16
"""Commands running together: a thousand servers may change in the same second."""


@dataclass(frozen=True, slots=True)
class PowerEvent:
    """The values of the hook's placeholders."""

    server_id: str
    name: str
    address: str
    event: str


class PowerHook:
    """Runs the command of ``spec``, if set, in threads; one at a time for each server."""

    def __init__(self, spec: HookSpec | None) -> None:
        self.spec = spec
        self.finished = 0
        self.failed = 0
        self._waiting: dict[str, deque[PowerEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="power-hook")

    @property
    def pending(self) -> int:
        """The number of commands that run or wait."""
        return sum(len(queue) for queue in self._waiting.values())

    def queue(self, event: PowerEvent) -> None:
        """Queue the command for ``event`` after the server's earlier ones. Needs a running event loop."""
        if self.spec is None:
            return
        queue = self._waiting.get(event.server_id)
        if queue is not None:
            queue.append(event)
            return
        self._waiting[event.server_id] = deque([event])
        task = asyncio.get_running_loop().create_task(self._drain(event.server_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, grace_seconds: float = 10.0) -> None:
        """Wait up to ``grace_seconds`` for the commands, then kill running ones and drop the rest."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
            self.spec = None
            for process in list(self._running):
                process.kill()
            await asyncio.gather(*late)
        self._pool.shutdown()

    async def _drain(self, server_id: str) -> None:
        queue = self._waiting[server_id]
        while queue:
            if self.spec is not None:
                # The event stays in the queue while its command runs, so that it counts as pending.
                run = asyncio.get_running_loop().run_in_executor
                if await run(self._pool, self._run, self.spec, queue[0]):
                    self.finished += 1
                else:
                    self.failed += 1
            queue.popleft()
        del self._waiting[server_id]

    def _run(self, spec: HookSpec, event: PowerEvent) -> bool:
        """Run the command for ``event``; log a failure; return whether it succeeded."""
        with _appending(spec.log_file) as log:
            try:
                status = self._run_logged(spec, event, log)
            except OSError as error:
                outcome = str(error)
            except subprocess.TimeoutExpired:
                outcome = f"killed after {spec.timeout_seconds} s"
            else:
                if status == 0:
                    return True
                outcome = f"exit status {status}"
            log.write(f"{event.name} {event.event}: {outcome}\n".encode())
        return False

    def _run_logged(self, spec: HookSpec, event: PowerEvent, log: FileIO) -> int:
        process = subprocess.Popen(
            [_fill(argument, event) for argument in spec.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=spec.environment,
            # Processes that the command starts (a slurmd) must not receive our signals.
            start_new_session=True,
        )
        self._running.add(process)
        try:
            return process.wait(spec.timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            self._running.discard(process)


def _appending(log_file: str) -> FileIO:
    # Unbuffered and in append mode, because the commands write to the same file.
    return Path(log_file).open("ab", buffering=0)


def _fill(argument: str, event: PowerEvent) -> str:
    for placeholder, value in {
        "{name}": event.name,
        "{id}": event.server_id,
        "{address}": event.address,
        "{event}": event.event,
    }.items():
        argument = argument.replace(placeholder, value)
    return argument
