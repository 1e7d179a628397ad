"""What the report of a failed test shows about the servers that it used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.testbed.processes import tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SUFFIXES = {".log", ".out"}
_FILES = 6
_LINES = 12


def describe(folders: Iterable[Path]) -> str:
    """Name the folders, and show the end of the logs below them that changed last."""
    existing = [folder for folder in folders if folder.exists()]
    logs = sorted(
        (path for folder in existing for path in _logs(folder)),
        key=lambda path: path.stat().st_mtime_ns,
        reverse=True,
    )
    lines = [f"kept: {folder}" for folder in existing]
    for path in logs[:_FILES]:
        lines += [f"-- the end of {path}", tail(path, _LINES)]
    return "\n".join(lines)


def _logs(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_log = path.suffix in _SUFFIXES and not path.name.endswith("-access.log")
        if is_log and path.is_file() and path.stat().st_size:
            yield path
