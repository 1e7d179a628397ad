"""A demo that fails says why, keeps its folder and names it; one that succeeds leaves nothing."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest

import demo.__main__ as demo

if TYPE_CHECKING:
    from demo.screen import Screen


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError("waited 110 s for the job"), "demo: waited 110 s for the job"),
        (OSError(28, "No space left on device"), "demo: OSError: [Errno 28] No space left"),
    ],
)
def test_a_failed_demo_shows_the_reason_and_keeps_its_logs(
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    reason: str,
) -> None:
    def fail(folder: Path, _screen: Screen) -> None:
        (folder / "power-hook.log").write_text("unshare: cannot mount proc\n")
        raise error

    monkeypatch.setattr(demo, "_run", fail)
    assert demo.main() == 1
    (kept,) = temporary.iterdir()
    said = capsys.readouterr().err
    assert reason in said
    assert f"demo: all logs are in {kept}" in said
    assert "unshare: cannot mount proc" in said
    assert (kept / "power-hook.log").exists()


def test_a_demo_that_succeeds_or_is_interrupted_leaves_no_folder(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_folder: Path, _screen: Screen) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_run", lambda _folder, _screen: None)
    assert demo.main() == 0
    monkeypatch.setattr(demo, "_run", interrupt)
    assert demo.main() == 130
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("temporary")
def test_the_demos_jobs_wait_in_the_prolog_and_its_step_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, the demo shows Slurm's timer of up to 30 s."""
    cluster, screen = MagicMock(), MagicMock()
    monkeypatch.setattr(demo, "Cluster", cluster)
    monkeypatch.setattr(demo._Watch, "wait", lambda watch, text, _: watch.screen.step(text))
    monkeypatch.setattr(demo, "_connected", MagicMock())
    monkeypatch.setattr(demo, "_print_end", MagicMock())
    with suppress(AttributeError):  # no state has events
        demo._run(Path("unused"), screen)
    plan = cluster.call_args.args[1]
    steps = [call.args[0] for call in screen.step.call_args_list]
    assert plan.prolog
    assert any("lamplighter-prolog lets Slurm start the job at once" in step for step in steps)
