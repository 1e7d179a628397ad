"""A TCP proxy on 127.0.0.1 whose connections can be cut: with a reset, or without a word."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Self

_CHUNK = 65536


class Cut:
    """Forwards connections to a port of 127.0.0.1; use as a context manager.

    It runs in a thread of its own.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._refuses = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cut", daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    def reset(self) -> None:
        """Reset all connections, and each new one, until `mend`."""
        self._refuses = True
        self._loop.call_soon_threadsafe(self._abort)

    def silence(self) -> None:
        """Forward nothing until `mend`; connections stay open, and new ones are accepted."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def mend(self) -> None:
        """Forward again; what was held back goes first."""
        self._refuses = False
        self._loop.call_soon_threadsafe(self._flows.set)

    async def _listen(self) -> None:
        self._flows = asyncio.Event()
        self._flows.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        self._open.add(writer)
        try:
            if not self._refuses:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
                ends.append(far_writer)
                self._open.add(far_writer)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, far_writer))
                    both.create_task(self._pump(far_reader, writer))
        except OSError:  # the other side is away: so are we
            pass
        except asyncio.CancelledError:
            pass
        finally:
            for end in ends:
                end.transport.abort()
                self._open.discard(end)
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        await self._flows.wait()
        with suppress(OSError, RuntimeError):
            writer.write_eof()
