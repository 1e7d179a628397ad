"""requirements*.lock: what the images install and are built with, by version and hash alone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKED = re.compile(
    r"^([a-z0-9-]+)==(\S+)( ;.*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]

# The first versions without the faults that are known; written by hand, so that no floor sinks.
SAFE = {
    "cryptography": "44.0.1",  # CVE-2024-12797
    "h11": "0.16",  # CVE-2025-43859
    "jinja2": "3.1.6",  # CVE-2025-27516
    "python-multipart": "0.0.18",  # CVE-2024-53981
    "requests": "2.32.4",  # CVE-2024-47081
    "starlette": "0.49.1",  # CVE-2025-62727
    "urllib3": "2.6.3",  # CVE-2025-66418, CVE-2025-66471, CVE-2026-21441
}


def locked(name: str = "requirements.lock") -> dict[str, str]:
    """Versions by package; each entry has been checked for its hashes."""
    text = (ROOT / name).read_text()
    entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    found = [LOCKED.fullmatch(entry) for entry in entries]
    assert None not in found, entries[found.index(None)]
    return {entry[1]: entry[2] for entry in found if entry is not None}


def wanted() -> list[Requirement]:
    return [Requirement(line) for line in (*PROJECT["dependencies"], *EXTRAS["postgresql"])]


@pytest.mark.parametrize("requirement", wanted(), ids=lambda one: one.name)
def test_the_lock_has_each_dependency_in_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("requirements-build.lock", PYPROJECT["build-system"]["requires"]),
        ("requirements-demo.lock", EXTRAS["testbed"]),
    ],
)
def test_what_builds_the_images_is_locked_in_its_range_too(name: str, ranges: list[str]) -> None:
    for one in ranges:
        requirement = Requirement(one)
        assert requirement.specifier.contains(locked(name)[canonicalize_name(requirement.name)])
        assert f"'{one}'" in (ROOT / name).read_text(), "the command that locks anew"


def test_the_image_installs_nothing_that_is_not_locked() -> None:
    """Each call of pip wants hashes, or may use no index; no build fetches its backend by a range."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    calls = re.findall(r"\bpip (?:--python \S+ )?(?:install|wheel|download)\b[^&\n]*", text)
    assert len(calls) >= 5
    assert len(calls) == len(re.findall(r"(?<![-.\w])pip (?!--mount)(?=--python|[a-z])", text))
    for call in calls:
        lock = re.search(r"--require-hashes -r (\S+)", call)
        if lock is not None:
            assert locked(lock[1]), call
        else:
            assert {"--no-index", "--no-deps"} <= set(call.split()), call
        if " wheel " in call or call.rstrip().endswith(" ."):
            assert "--no-build-isolation" in call, call


@pytest.mark.parametrize("name", SAFE)
def test_no_version_with_a_known_fault_is_allowed(name: str) -> None:
    (requirement,) = (one for one in wanted() if canonicalize_name(one.name) == name)
    floors = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
    assert floors
    assert min(floors) >= Version(SAFE[name])
    assert Version(locked()[name]) >= Version(SAFE[name])


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.lock")), ids=lambda path: path.name)
def test_no_lock_names_an_address(path: Path) -> None:
    assert not re.search(r"://|\b[\w-]+\.(org|com|net|io)\b|--(extra-)?index", path.read_text())
