"""The installer asks for what is missing, and starts no daemon."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.testbed import install

ROOT = Path(__file__).parents[2]


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let two packages be missing: their programs stand nowhere."""
    monkeypatch.setattr(install, "PROGRAMS", {"slurmd": "no-such-program", "munge": "no/such/*"})
    return ["slurmd", "munge"]


def test_the_test_bed_can_run_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_it_needs_the_standard_library_only() -> None:
    """Without site-packages, as before there is a virtual environment."""
    argv = [sys.executable, "-S", "-E", "-m", "tests.testbed.install", "--check"]
    assert subprocess.run(argv, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_where_it_may_not_install_one_line_says_what_to_install(
    arguments: list[str],
    missing: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(install, "can_install", lambda: False)
    assert install.main(arguments) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"apt-get install --no-install-recommends {' '.join(missing)}")


def test_old_package_lists_are_read_anew_once(
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


def test_daemons_are_forbidden_to_start_only_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    monkeypatch.setattr(install, "POLICY", policy)
    with suppress(ZeroDivisionError), install._no_daemons():
        assert subprocess.run([policy], check=False).returncode == 101
        raise ZeroDivisionError
    assert not policy.exists()


def test_the_machines_own_policy_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.write_text("of the administrator")
    monkeypatch.setattr(install, "POLICY", policy)
    with install._no_daemons():
        pass
    assert policy.read_text() == "of the administrator"
