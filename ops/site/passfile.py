"""Reads PostgreSQL's password files (libpq, "The Password File"). Pure."""

import re
from collections.abc import Iterator

_LINE = re.compile(r"(?:(?:[^\\:\n]|\\.)*:){4}(.+)")


def passwords(text: str) -> Iterator[str]:
    """The password of each line host:port:database:user:password."""
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            yield re.sub(r"\\(.)", r"\1", found[1])
