"""`make clean` removes what the make targets made, also outside the checkout, and names what stays."""

from __future__ import annotations

import fcntl
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.testbed import clean

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, a cache folder and an engine's folder, with files in each."""
    for name in ("root/.venv", "root/build/site", "root/ops/__pycache__", "cache/images", "engine"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "root/ops/kept.py").touch()
    (tmp_path / "engine/users.lock").touch()
    (tmp_path / "tmp/lamplighter-x").mkdir(parents=True)
    monkeypatch.setattr(clean, "ROOT", tmp_path / "root")
    monkeypatch.setattr(clean, "ENGINE_LOCK", tmp_path / "engine/users.lock")
    monkeypatch.setattr(clean, "ENGINE_FOLDER", tmp_path / "engine")
    monkeypatch.setattr(clean, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def test_all_that_was_made_is_removed_and_named(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clean.main() == 0
    said = capsys.readouterr().out
    for name in ("root/.venv", "root/build", "root/ops/__pycache__", "cache", "engine"):
        assert not (made / name).exists()
        assert f"removed: {made / name} (" in said
    assert (made / "root/ops/kept.py").exists()
    assert f"kept: {made / 'tmp/lamplighter-x'}" in said
    assert "kept: system packages" in said


def test_a_cache_whose_engine_runs_is_kept_and_named(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (made / "engine/users.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert clean.main() == 0
    assert (made / "cache/images/file").exists()
    assert f"kept: {made / 'cache'} (a test run uses" in capsys.readouterr().out
    assert not (made / "root/.venv").exists()
