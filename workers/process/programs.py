"""Runs other programs for what they print: in bounded time and memory, and without input."""

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

_MOST_BYTES = 2**28
_CHUNK = 2**16
# Of what a program that failed has said, characters.
_LONGEST = 1000
# The folders of rabbitmqctl and the like, which su(1) without a dash leaves out of root's PATH.
_OF_ROOT = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class TooMuchOutputError(subprocess.SubprocessError):
    """A program printed more than can be read; the text says how much that is."""


def program_of_root(name: str) -> str | None:
    """The path of a program of root's; None if it is not installed."""
    return shutil.which(name, path=environment_of_root()["PATH"])


def environment_of_root() -> dict[str, str]:
    """The environment for a program of root's, which may run others."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_OF_ROOT))
    return os.environ | {"PATH": path}


def run_program(
    argv: Sequence[str | bytes],
    seconds: float,
    environment: Mapping[str, str] | None = None,
    most: int = _MOST_BYTES,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program, and end it with its children if it takes too long or prints too much.

    Args:
        argv: the program's path and its arguments.
        seconds: until it and all who hold its output must have ended.
        environment: by default that of this process.
        most: bytes of its output and of its errors.

    Raises:
        OSError: it cannot be run.
        ValueError: an argument contains NUL.
        subprocess.TimeoutExpired: it runs longer.
        TooMuchOutputError: it prints more.
    """
    until = time.monotonic() + seconds
    with subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            outputs = _read(process, seconds, until, most)
            code = process.wait(max(0.0, until - time.monotonic()))
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(argv, code, *outputs)


def problem_of(
    argv: Sequence[str | bytes], seconds: float, environment: Mapping[str, str] | None = None
) -> str | None:
    """Run a program as `run_program` does; returns in one line why it failed, or None."""
    try:
        done = run_program(argv, seconds, environment)
    except subprocess.TimeoutExpired:
        return f"did not end within {seconds:g} s"
    except (OSError, ValueError, TooMuchOutputError) as error:
        return str(error)
    said = (done.stderr.strip() or done.stdout).decode(errors="backslashreplace")
    return (" ".join(said.split())[:_LONGEST] or "failed") if done.returncode else None


def _read(
    process: subprocess.Popen[bytes], seconds: float, until: float, most: int
) -> tuple[bytes, bytes]:
    """All that the process prints, and its errors."""
    found = {pipe: bytearray() for pipe in (process.stdout, process.stderr) if pipe is not None}
    with selectors.DefaultSelector() as selector:
        for pipe in found:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            # what always has something to read is not asked again after the time is over
            left = until - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                raise subprocess.TimeoutExpired(process.args, seconds)
            for key, _ in ready:
                output, read = found[key.fileobj], os.read(key.fd, _CHUNK)  # type: ignore[index]
                output += read
                if not read:
                    selector.unregister(key.fileobj)
                elif len(output) > most:
                    raise TooMuchOutputError(f"printed more than {most} bytes")
    out, err = map(bytes, found.values())
    return out, err
