"""The demo's screen, where the output is not a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from demo.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable


def lines(run: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> list[str]:
    run()
    return [re.sub(r"^ *\d+\.\d s  ", "", line) for line in capsys.readouterr().out.splitlines()]


def test_failed_step_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        with pytest.raises(RuntimeError), Screen() as screen:
            screen.step("first")
            screen.step("second")
            raise RuntimeError

    assert lines(run, capsys) == ["first", "second", "✗ second"]


def test_successful_steps_are_not_marked(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        with Screen() as screen:
            screen.step("only")

    assert lines(run, capsys) == ["only"]
