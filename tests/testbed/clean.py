"""`make clean`: remove what the make targets made, and name what has to stay.

Runs without the virtual environment, so it imports the standard library only.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.folders import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MADE = (
    *(".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"),
    *(".hypothesis", "build", "dist", "**/__pycache__"),
)
# The lock that every user of the private Docker engine shares (see tests.testbed.docker.private).
ENGINE_LOCK = Path("/run/lamplighter-testbed/users.lock")
ENGINE_FOLDER = ENGINE_LOCK.parent


def kept_folders() -> list[Path]:
    """Return the folders that failed or running tests have in the temporary folder."""
    return sorted(Path(tempfile.gettempdir()).glob("lamplighter-*"))


def main() -> int:
    """Run the command; return 1 if something could not be removed."""
    failed = False
    paths = [path for pattern in MADE for path in ROOT.glob(pattern)]
    paths += [path for path in (ENGINE_FOLDER, cache_folder()) if path.exists()]
    if _engine_runs():
        _print(f"kept: {cache_folder()} (a test run uses the Docker engine in it)")
        paths = [path for path in paths if path not in (ENGINE_FOLDER, cache_folder())]
    for path in paths:
        if not path.exists():  # it was below another one
            continue
        size = _size(path)
        shutil.rmtree(path, ignore_errors=True)
        failed |= path.exists()
        _print(f"{'cannot remove' if path.exists() else 'removed'}: {path} ({size})")
    for line in _stays():
        _print(line)
    return int(failed)


def _engine_runs() -> bool:
    if not ENGINE_LOCK.exists():
        return False
    with ENGINE_LOCK.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _stays() -> Iterator[str]:
    for folder in kept_folders():
        yield f"kept: {folder} ({_size(folder)}; of a test that failed or still runs)"
    yield "kept: system packages (python3 -m tests.testbed.install test --check names them)"


def _size(path: Path) -> str:
    done = subprocess.run(["/usr/bin/du", "-sh", path], capture_output=True, text=True, check=False)
    return (done.stdout.split() or ["unknown size"])[0]


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
