"""Run a simulated OpenStack: ``python -m tests.testbed.simcloud --ready-file PATH``."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn

from tests.testbed.simcloud.app import application
from tests.testbed.simcloud.settings import Config
from tests.testbed.simcloud.simulation import Simulation
from tests.testbed.simcloud.transport import Protocol


class _Server(uvicorn.Server):
    """uvicorn, which writes the ready file once it listens."""

    def __init__(self, config: uvicorn.Config, ready_file: Path | None, url: str) -> None:
        super().__init__(config)
        self._ready_file = ready_file
        self._url = url

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # At the end uvicorn would raise the signal again; a clean stop must exit with status 0.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready_file is not None and self.started:
            # Renamed into place, so that readers never see half an address.
            draft = self._ready_file.with_name(f".{self._ready_file.name}.{os.getpid()}")
            draft.write_text(self._url)
            draft.rename(self._ready_file)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    options = _parser().parse_args(argv)
    try:
        config = _read(options.config)
    except (OSError, msgspec.ValidationError, msgspec.DecodeError) as error:
        sys.stderr.write(f"simcloud: --config {options.config}: {error}\n")
        return 2
    asyncio.run(_serve(config, options.host, options.port, options.ready_file))
    return 0


async def _serve(config: Config, host: str, port: int, ready_file: Path | None) -> None:
    with socket.create_server((host, port), backlog=2048) as listener:
        # asyncio sets this only for sockets created with TCP's protocol number. Without it,
        # Nagle's algorithm delays each small answer by 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        web = uvicorn.Config(
            application(Simulation(config)),
            http=Protocol,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        url = f"http://{host}:{listener.getsockname()[1]}"
        await _Server(web, ready_file, url).serve(sockets=[listener])


def _read(path: Path | None) -> Config:
    return Config() if path is None else msgspec.json.decode(path.read_bytes(), type=Config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simcloud", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help="gets the address once it listens")
    parser.add_argument("--config", type=Path, help="JSON: seed, settings, servers, hook")
    return parser


if __name__ == "__main__":
    sys.exit(main())
