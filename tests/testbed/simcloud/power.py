"""The power hook: a command for each change of a server's power, in order server by server."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from tests.testbed.simcloud.settings import HookSpec

_AT_ONCE = 16
"""Commands running together: a thousand servers may change in the same second."""


@dataclass(frozen=True, slots=True)
class PowerEvent:
    server_id: str
    name: str
    address: str
    event: str


class PowerHook:
    """Runs the command of ``spec``, if there is one, off the event loop; one at a time per server."""

    def __init__(self, spec: HookSpec | None) -> None:
        self.spec = spec
        self.finished = 0
        self.failed = 0
        self._waiting: dict[str, deque[PowerEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @property
    def pending(self) -> int:
        """Commands that run or wait."""
        return sum(len(queue) for queue in self._waiting.values())

    def tell(self, event: PowerEvent) -> None:
        """Have the command run for ``event`` after the ones before it. Needs a running loop."""
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
        """Let waiting commands finish for a while, then give them up."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _drain(self, server_id: str) -> None:
        queue = self._waiting[server_id]
        try:
            while queue:
                # The event stays in the queue while its command runs, so that it counts as pending.
                spec = self.spec
                if spec is not None:
                    async with self._slots:
                        if await _run(spec, queue[0]):
                            self.finished += 1
                        else:
                            self.failed += 1
                queue.popleft()
        finally:
            del self._waiting[server_id]


async def _run(spec: HookSpec, event: PowerEvent) -> bool:
    values = {
        "{name}": event.name,
        "{id}": event.server_id,
        "{address}": event.address,
        "{event}": event.event,
    }
    arguments = [_fill(argument, values) for argument in spec.arguments]
    with _appending(spec.log_file) as log:
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=spec.environment,
                # What the command leaves running (a slurmd) is its own master.
                start_new_session=True,
            )
        except OSError as error:
            log.write(f"{event.name} {event.event}: {error}\n".encode())
            return False
        try:
            status = await asyncio.wait_for(process.wait(), spec.timeout_seconds)
        except (TimeoutError, asyncio.CancelledError) as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            log.write(f"{event.name} {event.event}: killed, it ran too long\n".encode())
            if isinstance(error, asyncio.CancelledError):
                raise
            return False
        if status != 0:
            log.write(f"{event.name} {event.event}: exit status {status}\n".encode())
        return status == 0


def _appending(log_file: str) -> FileIO:
    # Unbuffered and in append mode: the commands write to the same file on their own.
    return Path(log_file).open("ab", buffering=0)


def _fill(argument: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        argument = argument.replace(placeholder, value)
    return argument
