"""docs/performance.md says what benchmarks/results hold, and nothing else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks import page
from benchmarks.__main__ import BENCHMARKS, RESULTS, ROOT, page_of, run, write_page
from benchmarks.machine import Machine
from benchmarks.results import Chart, Findings, Result, Table, keep, kept, note_failure
from benchmarks.svg import draw
from benchmarks.table import Figure
from benchmarks.workers import doubled_or_missing

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Machine("An OS 7001", "CPU 7002", 7003, 7004, {"Thing": "7.00.5"})
CHART = Chart(
    "lines", "How <long>", "nodes", "s", {"we": [(1, 7020), (70, 7021)], "they": [(1, 7022)]}
)
FOUND = Findings(
    "Title 7007",
    "How 7008.",
    [
        Figure("reached 7009", 7010, 2, "ms", baseline=7011),
        Figure("missed|7012", 7014, 7013, "s"),
        Figure("plain", 7015),
    ],
    [CHART],
    [Table("Table 7016", ["a", "b"], [["x 7017", 7018], [None, "y 7019"]])],
)
RESULT = Result(
    "python -m benchmarks fleet --n 7023",
    "7024-01-02 03:04",
    7025,
    7026.5,
    "7006abc",
    MACHINE,
    FOUND,
)
_LINK = re.compile(r"\]\(([^)]+)\)")


def _text(result: Result) -> str:
    return page.write({"fleet": result})[page.PAGE]


def test_each_number_of_the_data_is_in_the_page_or_its_chart() -> None:
    files = page.write({"fleet": RESULT})
    data = set(re.findall(r"70\d\d(?!\d)", msgspec.json.encode(RESULT).decode()))
    assert len(data) >= 20
    shown = "".join(files.values()).replace(",", "")
    assert [number for number in data if number not in shown] == []


def test_the_page_of_no_results_has_no_figure() -> None:
    """So no number comes from elsewhere than the data."""
    assert re.findall(r"\d+", page.write({})[page.PAGE].replace("0 of 0 aims", "")) == []


def test_missed_aims_are_listed_first_and_counted() -> None:
    head, _, rest = _text(RESULT).partition("## Machine")
    assert "1 of 2 aims were reached. Missed:" in head
    assert "| [fleet](#fleet) | missed\\|7012 |" in head
    assert "reached 7009" not in head
    assert "MISSED" in rest
    reached = replace(RESULT, findings=replace(FOUND, figures=FOUND.figures[:1]))
    assert "1 of 1 aims were reached.\n" in _text(reached)


def test_each_machine_says_what_was_measured_on_it_if_there_are_several() -> None:
    other = replace(RESULT, machine=replace(MACHINE, system="Another"))
    text = page.write({"fleet": RESULT, "hooks": other, "idle": RESULT})[page.PAGE]
    assert "\nfleet, idle: An OS 7001," in text
    assert "\nhooks: Another," in text
    alone = page.write({"fleet": RESULT, "hooks": RESULT})[page.PAGE]
    assert alone.count("An OS 7001") == 1
    assert "\nAn OS 7001," in alone


def test_one_benchmark_replaces_its_result_only(tmp_path: Path) -> None:
    keep(tmp_path, "hooks", RESULT)
    keep(tmp_path, "fleet", RESULT)
    later = replace(RESULT, command="later")
    keep(tmp_path, "fleet", later)
    assert kept(tmp_path, list(BENCHMARKS)) == {"hooks": RESULT, "fleet": later}
    assert list(kept(tmp_path, list(BENCHMARKS))) == ["hooks", "fleet"]


def test_a_later_run_that_failed_is_on_the_page_until_one_ends(tmp_path: Path) -> None:
    for name in ("fleet", "hooks"):
        keep(tmp_path, name, RESULT)
    note_failure(tmp_path, "fleet", "2027-02-03 04:05")
    note_failure(tmp_path, "memory", "2027-02-03 04:05")  # has no result yet
    text = page_of(tmp_path)[page.PAGE]
    assert "\nA later run failed: fleet.\n" in text
    assert text.count("**A later run, 2027-02-03 04:05 UTC, failed") == 1
    keep(tmp_path, "fleet", RESULT)
    assert "later run" not in page_of(tmp_path)[page.PAGE]


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text('{"command": 1}')
    with pytest.raises(ValueError, match=r"fleet\.json: .*run fleet again"):
        kept(tmp_path, ["fleet"])


@pytest.mark.slow
def test_a_benchmark_that_fails_leaves_the_last_result(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("memory", ("--no-such-option",)) is None
    assert "no-such-option" in capfd.readouterr().err
    keep(tmp_path / "results", "fleet", RESULT)
    write_page(tmp_path, tmp_path / "results")
    text = (tmp_path / page.PAGE).read_text()
    assert (
        f"Not measured so far: {', '.join(name for name in BENCHMARKS if name != 'fleet')}.\n"
        in text
    )
    assert "missed" in text
    assert (tmp_path / page.CHARTS / "lines.svg").read_text() == draw(CHART)


def test_a_request_too_many_does_not_hide_one_that_is_missing() -> None:
    ended, made = Counter({"r1": 1, "r2": 1, "r3": 1}), Counter({"node1": 1})
    assert doubled_or_missing(ended, 2) + doubled_or_missing(made, 2) == 2
    assert doubled_or_missing(Counter({"r1": 2, "r2": 1}), 2) == 1


def test_a_chart_without_a_result_is_removed(tmp_path: Path) -> None:
    keep(tmp_path / "results", "fleet", RESULT)
    write_page(tmp_path, tmp_path / "results")
    without = replace(RESULT, findings=replace(FOUND, charts=[]))
    keep(tmp_path / "results", "fleet", without)
    write_page(tmp_path, tmp_path / "results")
    assert list((tmp_path / page.CHARTS).glob("*.svg")) == []


def test_a_chart_shows_all_points_inside_its_frame() -> None:
    root = ET.fromstring(draw(CHART))  # noqa: S314 - our own
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    dots = [one for one in root.iter() if one.tag.endswith("circle")]
    places = {(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in dots}
    assert len(places) == 3
    assert all(0 < x < width and 0 < y < height for x, y in places)
    assert root.findtext("{*}title") == "How <long>"


@pytest.mark.parametrize("points", [[], [(1.0, 0.0)], [(-1.0, 2.0)]])
def test_a_chart_refuses_what_a_logarithmic_axis_cannot_show(
    points: list[tuple[float, float]],
) -> None:
    with pytest.raises(ValueError, match="lines: "):
        draw(replace(CHART, lines={"we": points}))


def test_one_value_alone_makes_a_chart() -> None:
    assert "circle" in draw(replace(CHART, lines={"we": [(10, 10)]}))


def test_the_committed_page_and_charts_are_those_of_the_committed_results() -> None:
    """`python -m benchmarks --page` writes them."""
    results = kept(RESULTS, list(BENCHMARKS))
    assert {file.stem for file in RESULTS.glob("*.json")} == set(results)
    files = page_of(RESULTS)
    assert {name: (ROOT / name).read_text() for name in files} == files
    charts = {str(file.relative_to(ROOT)) for file in (ROOT / page.CHARTS).glob("*.svg")}
    assert charts == set(files) - {page.PAGE}
    links = [link for link in _LINK.findall(files[page.PAGE]) if not link.startswith("#")]
    assert {f"docs/{link}" for link in links} == charts


def test_every_benchmark_is_run_by_make_bench() -> None:
    """All modules with a command but the clients that benchmarks start, and __main__."""
    commands = {
        file.stem
        for file in (ROOT / "benchmarks").glob("*.py")
        if 'if __name__ == "__main__"' in file.read_text()
    }
    assert commands - {"__main__", "bare_client", "peer_client"} == set(BENCHMARKS)
