"""What a benchmark found: printed, and kept as one JSON file a benchmark, from which the page is written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.machine import Machine  # noqa: TC001 - msgspec reads it
from benchmarks.table import Figure, render

if TYPE_CHECKING:
    from collections.abc import Sequence

# The file that a benchmark writes its findings to, if the environment names one.
VARIABLE = "LAMPLIGHTER_BENCH_FINDINGS"


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a number, on logarithmic axes.

    Attributes:
        name: of its file, without the ending; unique over all benchmarks.
        title: what is shown.
        across: what the numbers of the horizontal axis count, such as nodes.
        unit: of the vertical axis.
        lines: the points of each line, by its name.
    """

    name: str
    title: str
    across: str
    unit: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Table:
    """Further figures; a cell is a text, a number, or None for what was not measured."""

    title: str
    columns: list[str]
    rows: list[list[str | float | None]]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a benchmark says.

    Attributes:
        title: what was measured, with its size.
        how: how, and against what; one paragraph.
        figures: with aims and baselines.
    """

    title: str
    how: str
    figures: list[Figure]
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """The findings of one run, and its circumstances.

    Attributes:
        command: what was run.
        began: the UTC time, such as 2026-11-29 02:10.
        minutes: how long it took.
        load: the machine's load average of one minute just before.
        commit: of the source; empty if it is unknown.
        failed: the UTC time of a later run that failed; empty if none did.
    """

    command: str
    began: str
    minutes: float
    load: float
    commit: str
    machine: Machine
    findings: Findings
    failed: str = ""


def publish(
    title: str,
    how: str,
    figures: Sequence[Figure],
    *,
    charts: Sequence[Chart] = (),
    tables: Sequence[Table] = (),
) -> None:
    """Print the figures; keep all for the page if `python -m benchmarks` runs the benchmark."""
    print(title, render(figures), sep="\n")
    for table in tables:
        print(table.title, *(table.columns, *table.rows), sep="\n  ")
    if path := os.environ.get(VARIABLE):
        found = Findings(title, " ".join(how.split()), [*figures], [*charts], [*tables])
        Path(path).write_bytes(msgspec.json.encode(found))


def keep(folder: Path, name: str, result: Result) -> None:
    """Write a benchmark's result in place of its last one."""
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(result), indent=1)
    (folder / f"{name}.json").write_bytes(text + b"\n")


def note_failure(folder: Path, name: str, began: str) -> None:
    """Keep with a benchmark's last result that a later run failed."""
    for last in kept(folder, [name]).values():
        keep(folder, name, replace(last, failed=began))


def kept(folder: Path, names: Sequence[str]) -> dict[str, Result]:
    """The results that there are, in the order of `names`.

    Raises:
        ValueError: A file is damaged, or from another version of the benchmarks; it is named.
    """
    found = {}
    for name in names:
        file = folder / f"{name}.json"
        if file.exists():
            try:
                found[name] = msgspec.json.decode(file.read_bytes(), type=Result)
            except msgspec.MsgspecError as error:
                raise ValueError(f"{file}: {error}; delete it, and run {name} again") from error
    return found
