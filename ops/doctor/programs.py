"""Runs programs of this host for what they print."""

import subprocess


def run(*argv: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a program without input; bytes that are not UTF-8 are shown escaped.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it runs longer than so many seconds.
    """
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )
