"""Writes output for other programs: private new files, and safe spreadsheet cells."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ops.cli.terminal import plain

# A spreadsheet takes a cell that starts with one of these for a formula (OWASP, "CSV Injection"), some
# also their full-width forms. Tabs and line ends have the same effect; `plain` escapes them.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# What a spreadsheet may take for the end of a cell, so that the rest begins one; after a space, a sign alone
# is a dash.
_SIGN = f"[{re.escape(''.join(_FORMULA))}]"
_SEPARATED = re.compile(rf"([;,|][\s\"']*(?={_SIGN})|\s[\"']*(?={_SIGN}\S))")


@contextmanager
def output(file: Path) -> Iterator[TextIO]:
    """Standard output for `-`, otherwise a new file for its owner; OSError if it exists."""
    if str(file) == "-":
        yield sys.stdout
        return
    file.touch(mode=0o600, exist_ok=False)  # job names and error messages are confidential
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out:
        yield out


def cell_of(value: object) -> str:
    """A cell that is not a formula to any spreadsheet; unprintable characters are escaped."""
    text = "" if value is None else plain(str(value))
    text = _SEPARATED.sub(r"\1'", text)
    return f"'{text}" if text.lstrip(" '\"").startswith(_FORMULA) else text
