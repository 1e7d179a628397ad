"""The statements that a store gets."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def counted(store: sa.Engine) -> Iterator[list[str]]:
    """The statements that this engine executes inside the context, in order."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    sa.event.listen(store, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(store, "before_cursor_execute", note)
