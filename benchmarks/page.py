"""docs/performance.md and its charts, written from the kept results: no figure comes from elsewhere."""

from __future__ import annotations

import textwrap
from itertools import takewhile
from typing import TYPE_CHECKING

from benchmarks.svg import draw
from benchmarks.table import COLUMNS, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.results import Result, Table

PAGE = "docs/performance.md"
CHARTS = "docs/performance"
_HEAD = """\
# Performance

<!-- Written by `python -m benchmarks --page` from benchmarks/results: change that, not this page. -->

What Lamplighter costs, measured against a baseline in the same run on the same machine: trust the ratios; absolute
times are those of this machine. Each section names its command and the machine's load at its start. A machine
with other work, a load near or above its number of cores, makes all figures worse and less certain.

`make bench` measures all and writes this page. `python -m benchmarks NAME [OPTIONS]` measures one benchmark and
replaces its section; `python -m benchmarks --quick` tries all of them with small sizes and writes below `build/`.
"""


def write(results: Mapping[str, Result], missing: Sequence[str] = ()) -> dict[str, str]:
    """The text of each file, by its path in the source; `missing` has no result yet."""
    files = {PAGE: "".join(_page(results, missing))}
    for result in results.values():
        for chart in result.findings.charts:
            files[f"{CHARTS}/{chart.name}.svg"] = draw(chart)
    return files


def _page(results: Mapping[str, Result], missing: Sequence[str]) -> Iterator[str]:
    yield _HEAD
    yield "\n## Aims\n\n"
    yield from _aims(results)
    if missing:
        yield f"\nNot measured so far: {', '.join(missing)}.\n"
    if failed := [name for name, result in results.items() if result.failed]:
        yield f"\nA later run failed: {', '.join(failed)}.\n"
    yield from _machines(results)
    for name, result in results.items():
        yield from _section(name, result)


def _machines(results: Mapping[str, Result]) -> Iterator[str]:
    """The machines, each once; if there are several, with what was measured on each."""
    machines = [result.machine for result in results.values()]
    distinct = [one for number, one in enumerate(machines) if one not in machines[:number]]
    yield "\n## Machine\n" if len(distinct) == 1 else "\n## Machines\n"
    for machine in distinct:
        versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
        cores = f"{machine.cores} cores ({machine.processor}), {machine.memory} GB of memory"
        text = f"{machine.system}, {cores}; {versions}."
        if len(distinct) > 1:
            names = [name for name, result in results.items() if result.machine == machine]
            text = f"{', '.join(names)}: {text}"
        yield f"\n{_wrapped(text)}\n"


def _aims(results: Mapping[str, Result]) -> Iterator[str]:
    """How many aims were reached, and each one that was missed."""
    aimed = [
        (name, figure)
        for name, result in results.items()
        for figure in result.findings.figures
        if figure.aim is not None
    ]
    missed = [(name, figure) for name, figure in aimed if not figure.reached]
    yield f"{len(aimed) - len(missed)} of {len(aimed)} aims were reached"
    yield ". Missed:\n\n" if missed else ".\n"
    if missed:
        yield from _rows(
            ["benchmark", *COLUMNS[:-1]],
            [[f"[{name}](#{name})", *figure.cells()[:-1]] for name, figure in missed],
            words=2,
        )


def _section(name: str, result: Result) -> Iterator[str]:
    found = result.findings
    yield f"\n## {name}\n\n{_wrapped(f'**{found.title}.** {found.how}')}\n\n"
    yield f"`{result.command}`, {result.began} UTC, {number(result.minutes)} minutes, "
    yield f"load {result.load:.1f}"
    if result.commit:
        yield f", commit {result.commit}"
    yield ".\n\n"
    if result.failed:
        yield f"**A later run, {result.failed} UTC, failed and has no figures.**\n\n"
    yield from _rows(COLUMNS, [figure.cells() for figure in found.figures])
    for table in found.tables:
        yield f"\n{table.title}\n\n"
        texts = (
            all(isinstance(one, str) for one in column) for column in zip(*table.rows, strict=True)
        )
        words = sum(takewhile(bool, texts))
        yield from _rows(table.columns, _cells(table), words=words)
    for chart in found.charts:
        yield f"\n![{chart.title}](performance/{chart.name}.svg)\n"


def _cells(table: Table) -> list[list[str]]:
    return [
        ["-" if cell is None else cell if isinstance(cell, str) else number(cell) for cell in row]
        for row in table.rows
    ]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _rows(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1
) -> Iterator[str]:
    """A table in Markdown; its first columns hold `words`, the others numbers."""
    yield f"| {' | '.join(columns)} |\n|{'---|' * words}{'---:|' * (len(columns) - words)}\n"
    for row in rows:
        cells = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in row)
        yield f"| {' | '.join(cells)} |\n"
