"""Runs commands of `lamplighter` in forks of one process that has imported them all.

A command of its own needs half a second of CPU to import what it runs, and the tests run thousands.
What a fork does not show is tested on real programs: a command's own start, with each command of the
pages (tests/faults/test_page_commands.py) and with the installed wheel (.ci/try-wheel).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ops.cli import main as command_line
from tests.testbed.processes import MINIMAL_ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOT = Path(__file__).parents[2]
_LARGEST = 200_000  # bytes of a request; the kernel takes a little more
_STREAMS = 3
_START_SECONDS = 60.0


def run_command(
    words: Iterable[str | Path],
    *,
    typed: str = "",
    stdin: int | None = None,
    cwd: Path | None = None,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run `lamplighter` with these words, with the environment `MINIMAL_ENVIRONMENT`.

    Args:
        words: without the program's name; no secrets.
        typed: its standard input, if there is no `stdin`.
        stdin: a descriptor to read from, such as a terminal's.
        cwd: its working directory; by default ours.
        timeout: seconds until it is killed.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    texts = [str(word) for word in words]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, _file(typed) as typing, _file() as out, _file() as err:
        streams = [typing.fileno() if stdin is None else stdin, out.fileno(), err.fileno()]
        request = json.dumps([str(cwd or Path.cwd()), texts]).encode()
        socket.send_fds(_server(), [request], [*streams, theirs.fileno()])
        theirs.close()
        ours.settimeout(_START_SECONDS)
        pid = int(ours.recv(_LARGEST))
        ours.settimeout(timeout)
        try:
            status = int(ours.recv(_LARGEST))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)  # its parent waits for it: the pid is still its own
            raise subprocess.TimeoutExpired(texts, timeout) from None
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess(texts, code, _text(out), _text(err))


def _file(text: str = "") -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(text.encode())
    file.seek(0)
    return file


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


@cache
def _server() -> socket.socket:
    """Where requests go; the server ends when it is closed, at our end at the latest."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=_ROOT,
            env=dict(MINIMAL_ENVIRONMENT),
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


# -- the server


def _import_all(group: click.Group) -> None:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            _import_all(command)


def _next_command(requests: socket.socket) -> list[str]:
    """Wait for requests. Returns, with the words, in the process of each; ends in the server at its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _LARGEST, _STREAMS + 1)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    requests.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, answer = descriptors
    pid = os.fork()
    if pid:
        _keep(pid, socket.socket(fileno=answer))
    os.close(answer)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    folder, words = json.loads(message)
    os.chdir(folder)
    return list(words)


def _keep(pid: int, answer: socket.socket) -> None:
    """Tell the pid of the command, and how it ended; ends this process."""
    answer.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):  # it was killed, and nobody waits
        answer.send(str(status).encode())
    os._exit(0)


def main() -> None:
    """Serve on the socket with this number."""
    _import_all(command_line.cli)
    import_module("workers.clouds.client")  # what commands import when they need it
    import_module("workers.tokens.client")
    gc.freeze()
    words = _next_command(socket.socket(fileno=int(sys.argv[1])))
    sys.argv[1:] = words
    command_line.main()


if __name__ == "__main__":
    main()
