"""Standard input of a command: a terminal on which somebody types, or a pipe."""

from __future__ import annotations

import os
import pty
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def typing(text: str) -> Iterator[int]:
    """The descriptor of a terminal on which `text` is already typed."""
    parent, child = pty.openpty()
    try:
        os.write(parent, text.encode())
        yield child
    finally:
        os.close(child)
        os.close(parent)
