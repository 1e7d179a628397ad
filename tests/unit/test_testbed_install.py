"""The installer installs what a make target needs, and starts no daemon."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.testbed import clean, install

ROOT = Path(__file__).parents[2]


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let two packages of the demo be missing: their files do not exist."""
    packages = {"slurmd": "no-such-program", "munge": "no/such/*"}
    monkeypatch.setitem(install.PACKAGES, "demo", packages)
    return ["slurmd", "munge"]


def test_the_demo_needs_no_package_that_the_tests_do_not_need() -> None:
    demo, test = install.PACKAGES["demo"], install.PACKAGES["test"]
    assert demo.items() <= test.items()
    assert {"rabbitmq-server", "slurmctld", "munge", "iproute2"} <= demo.keys()
    assert not {"postgresql", "mariadb-server", "chromium", "nodejs", "prometheus"} & demo.keys()


def test_it_needs_the_standard_library_only() -> None:
    """It runs without site-packages, as before the virtual environment exists."""
    argv = [sys.executable, "-S", "-E", "-m", "tests.testbed.install", "--help"]
    assert subprocess.run(argv, cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("arguments", [["demo"], ["demo", "--check"]])
def test_where_it_must_not_install_one_line_says_what_to_install(
    arguments: list[str],
    missing: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(install, "can_install", lambda: False)
    assert install.main(arguments) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"apt-get install --no-install-recommends {' '.join(missing)}")


def test_if_the_installation_fails_the_package_lists_are_updated_once(
    missing: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[str] = []

    def apt(action: str, *packages: str) -> bool:
        calls.append(f"{action} {' '.join(packages)}".strip())
        assert (tmp_path / "policy").read_text() == install.FORBID_START
        return len(calls) > 1

    monkeypatch.setattr(install, "_apt", apt)
    monkeypatch.setattr(install, "POLICY", tmp_path / "policy")
    assert install.install(missing)
    assert calls == ["install slurmd munge", "update", "install slurmd munge"]
    assert not (tmp_path / "policy").exists()


def test_daemons_may_start_again_after_the_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    monkeypatch.setattr(install, "POLICY", policy)
    with suppress(ZeroDivisionError), install._no_daemons():
        assert subprocess.run([policy], check=False).returncode == 101
        raise ZeroDivisionError
    assert not policy.exists()


def test_the_machines_own_policy_is_not_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    policy.write_text("of the administrator")
    monkeypatch.setattr(install, "POLICY", policy)
    with install._no_daemons():
        pass
    assert policy.read_text() == "of the administrator"


def test_clean_removes_what_was_made_and_names_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [tmp_path / "checkout" / ".venv", tmp_path / "checkout" / "a" / "b" / "__pycache__"]
    cache = tmp_path / "cache" / "lamplighter-testbed"
    kept = tmp_path / "temporary" / "lamplighter-x"
    for folder in (*made, cache, kept):
        folder.mkdir(parents=True)
    source = tmp_path / "checkout" / "a" / "b" / "source.py"
    source.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(clean, "ROOT", tmp_path / "checkout")
    monkeypatch.setattr(clean, "ENGINE_LOCK", tmp_path / "no-engine")
    monkeypatch.setattr(clean, "ENGINE_FOLDER", tmp_path / "no-engine")
    monkeypatch.setattr(clean, "kept_folders", lambda: [kept])
    assert clean.main() == 0
    assert not [folder for folder in (*made, cache) if folder.exists()]
    assert source.exists()
    assert kept.exists()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        *(f"removed: {path}" for path in (*made, cache)),
        f"kept: {kept}",
        "kept: system packages",
    ]
