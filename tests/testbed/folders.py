"""The folder that test runs of all checkouts share. Standard library only: `make clean` imports it."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of installed packages, images and databases; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lamplighter-testbed"
