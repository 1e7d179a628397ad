"""Prints tables, lines and JSON. No printed text can control the terminal."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.envelope import rfc3339

T = TypeVar("T")
# By title, what a table shows of an item.
Columns: TypeAlias = Mapping[str, Callable[[T], object]]

_PIPE_WIDTH = 200
_LONGEST = 80
# Longer words, such as hostlists, may be broken.
_LONGEST_WORD = 16
_NS = 1_000_000_000
# Operators copy these columns into their next command: they wrap only if there is no room.
_COPIED = frozenset({"id", "request"})


def plain(text: str) -> str:
    """`text` with every unprintable character escaped, including direction marks."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def console() -> Console:
    """Standard output; wide if it is neither a terminal nor $COLUMNS says otherwise.

    So pipes receive whole lines.
    """
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a table; a cell that is None is a dash. If it is too wide, each row is a block of lines."""
    texts = [["-" if cell is None else plain(str(cell)) for cell in row] for row in rows]
    if _narrowest((columns, *texts)) > console().width:
        _print_blocks(columns, texts)
        return
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        whole = column in _COPIED
        table.add_column(Text(column, style="bold"), overflow="fold", no_wrap=whole)
    for row in texts:
        table.add_row(*map(Text, row))
    console().print(table)


def _narrowest(rows: Sequence[Sequence[str]]) -> int:
    """The width below which a table breaks words that people read whole, such as numbers."""
    columns = zip(*rows, strict=True)
    words = [[len(word) for text in column for word in text.split()] for column in columns]
    widths = [min(max(lengths, default=0), _LONGEST_WORD) for lengths in words]
    return sum(widths) + 2 * (len(widths) - 1)


def _print_blocks(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    width = max(map(len, columns))
    for first, *others in rows:
        print_line(f"{columns[0]} {first}", style="bold")
        for column, text in zip(columns[1:], others, strict=True):
            print_line(f"  {column:<{width}}  {text}")


def print_rows(columns: Columns[T], items: Iterable[T], *, empty: str) -> None:
    """Print a table with a row for each item; `empty` says that there is none."""
    rows = [[cell(item) for cell in columns.values()] for item in items]
    if rows:
        print_table(tuple(columns), rows)
    else:
        print_line(empty)


def print_items(
    items: Iterable[T],
    columns: Columns[T],
    json_of: Callable[[T], Mapping[str, object]],
    *,
    empty: str,
    as_json: bool,
) -> None:
    """Print a table of items, or one JSON object per item; as a table, `empty` says that there is none."""
    if not as_json:
        print_rows(columns, items, empty=empty)
        return
    for item in items:
        print_json(json_of(item))


def print_line(text: str, style: str = "", *, whole: bool = False) -> None:
    """Print one line, escaped; wrapped between words for people, unless `whole`; whole in a pipe."""
    screen = console()
    soft_wrap = whole or screen.width == _PIPE_WIDTH
    screen.print(Text(plain(text), style=style), soft_wrap=soft_wrap)


def warn(text: str) -> None:
    """Print one line to stderr, escaped, with the name of the program."""
    click.echo(f"lamplighter: {plain(text)}", err=True)


def json_line(value: Mapping[str, object]) -> str:
    """One line of JSON; unprintable characters are JSON escapes, and numbers that JSON lacks are null."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False)
    # the only control character that json.dumps does not escape
    return text.replace("\x7f", "\\u007f")


def _finite(value: object) -> object:
    """The value with None for NaN and the infinities."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(value: Mapping[str, object]) -> None:
    """Print one line of JSON."""
    click.echo(json_line(value))


def moment(ns: int | None) -> str:
    """Nanoseconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    return "-" if ns is None else f"{rfc3339(ns)[:23]}Z"


def short_moment(ns: int | None, now: int | None = None) -> str | None:
    """A time for a table, in UTC: of today 17:36:13, of this year 11-24 17:36, otherwise 2025-11-24."""
    if ns is None:
        return None
    text, today = moment(ns), moment(time.time_ns() if now is None else now)
    if text[:10] == today[:10]:
        return text[11:19]
    return f"{text[5:10]} {text[11:16]}" if text[:4] == today[:4] else text[:10]


def json_moment(ns: int | None) -> str | None:
    """`moment` for JSON: None if the time is unknown."""
    return None if ns is None else moment(ns)


def duration(ns: int) -> str:
    """A length of time: 0.250 s, 12.5 s, 3 min 20 s, 2 h 5 min or 3 d 4 h."""
    seconds = ns / _NS
    if seconds < 10:  # noqa: PLR2004 - milliseconds do not matter above this
        return f"{seconds:.3f} s"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, name, smaller, smaller_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {smaller_name}"
    raise AssertionError("unreachable")


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 node`, `2 nodes`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def cut(names: str) -> str:
    """A hostlist, cut to 80 characters."""
    return names if len(names) <= _LONGEST else f"{names[:_LONGEST]}..."


def duration_of(seconds: float) -> str:
    """`duration` of a number of seconds."""
    return duration(round(seconds * _NS))
