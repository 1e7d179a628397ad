"""A file system of a few megabytes, which a test can fill."""

from __future__ import annotations

import errno
import subprocess
from typing import TYPE_CHECKING, Self

from tests.testbed.processes import MINIMAL_ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = bytes(64 * 1024)


class SmallDisk:
    """A tmpfs on a folder; use as a context manager, as root.

    Args:
        folder: is created; only its owner may enter it.
        megabytes: its size.

    Raises:
        RuntimeError: on entry, it cannot be mounted; the message holds the reason.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._filler = folder / "filler"

    def __enter__(self) -> Self:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = f"size={self._megabytes}m,mode=0700"
        _run("mount", "-t", "tmpfs", "-o", options, "lamplighter-test", str(self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", "--lazy", str(self.folder))

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("ab", buffering=0) as file:
            for block in (_BLOCK, _BLOCK[:4096], b"\0"):
                self._write_all(file.write, block)

    def free(self) -> None:
        """Undo `fill`."""
        self._filler.unlink(missing_ok=True)

    @staticmethod
    def _write_all(write: object, block: bytes) -> None:
        assert callable(write)
        try:
            while write(block) == len(block):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _run(*argv: str) -> None:
    done = subprocess.run(
        argv, env=dict(MINIMAL_ENVIRONMENT), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()} (run as root)")
