"""The layout says what is where: CONTRIBUTING.md states these promises."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("schemas", "producers", "workers", "ops")
OTHERS = ("demo", "storm", "benchmarks", "tests/testbed")
MOST_LINES, MEDIAN_LINES = 300, 110


def rooms(*roots: str) -> list[Path]:
    """Every package below these folders."""
    return sorted(path.parent for root in roots for path in (ROOT / root).rglob("__init__.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("room", rooms(*PRODUCT, *OTHERS), ids=relative)
def test_each_room_has_a_map_that_names_its_files(room: Path) -> None:
    words = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    named = set(re.findall(r"[a-z_][a-z_0-9]*", words))
    programs = (*room.glob("*.py"), *room.glob("*.bash"))
    files = {path.stem for path in programs} - {"__init__", "__main__"}
    assert files - named == set()


def test_the_drawing_of_the_floors_shows_what_the_check_enforces() -> None:
    """docs/adr/0015 and import-linter's contracts in pyproject.toml; it counts the rooms, too."""
    (path,) = (ROOT / "docs/adr").glob("0015-*.md")
    adr = path.read_text()
    inner = [room for room in rooms(*PRODUCT) if relative(room) not in {"workers", "ops"}]
    counted = [room for room in inner if "migrations" not in room.parts]
    assert f"there are {len(counted)} rooms" in adr
    drawing = adr.split("```")[1].split("\n", 1)[1]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = {
        one["containers"][0]: one["layers"] for one in contracts["contracts"] if "containers" in one
    }
    drawn: dict[str, list[str]] = {}
    for line in drawing.splitlines():
        building, floor = line[:11].strip(), line[11:].strip()
        if building:
            drawn[building] = []
        if floor:
            drawn[[*drawn][-1]].append(floor)
    assert {name: drawn[name] for name in floors} == floors
    assert [*drawn] == contracts["contracts"][0]["layers"]


def test_no_file_of_the_product_is_long() -> None:
    """And half of them are short."""
    files = (path for root in PRODUCT for path in (ROOT / root).rglob("*.py"))
    lines = {relative(path): len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lines.items() if length > MOST_LINES} == {}
    assert median(lines.values()) < MEDIAN_LINES


def test_a_test_that_names_sqlite_itself_says_why() -> None:
    """All others run on PostgreSQL too, with STORE=postgresql (tests/testbed/stores.py)."""
    silent = {
        relative(path)
        for path in (ROOT / "tests").rglob("*.py")
        if path.parent.name != "testbed"
        and re.search(r"sqlite:/{2}|sqlite3|SQLITE_PAIR\b", path.read_text())
        if not re.search(r"^ *# On SQLite: \S", path.read_text(), re.MULTILINE)
    }
    assert silent - {relative(Path(__file__))} == set()


def test_a_class_name_means_one_thing_in_workers_and_ops() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for root in ("workers", "ops"):
        for path in (ROOT / root).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(relative(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_pre_commit_runs_the_checks_of_make_check() -> None:
    target = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    checked = set(re.findall(r"\$\(BIN\)/([\w-]+)", target))
    assert checked
    assert checked == set(re.findall(r"entry: \.venv/bin/([\w-]+)", hooks))
