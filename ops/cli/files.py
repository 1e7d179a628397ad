"""What is printed for other programs: new files that are nobody else's, and cells of spreadsheets."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ops.cli.terminal import plain

# What makes a spreadsheet take a cell for a formula (OWASP, "CSV Injection").
# Tabs and line ends, which do too, are escaped.
_FORMULA = ("=", "+", "-", "@")


@contextmanager
def output(file: Path) -> Iterator[TextIO]:
    """Standard output for `-`, else a file that must not exist yet.

    Raises:
        OSError: it exists, or cannot be made.
    """
    if str(file) == "-":
        yield sys.stdout
        return
    file.touch(mode=0o600, exist_ok=False)  # job names and error texts are nobody else's
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out:
        yield out


def cell_of(value: object) -> str:
    """A cell that no spreadsheet takes for a formula; what is not printable is escaped."""
    text = "" if value is None else plain(str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text
