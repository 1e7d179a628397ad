"""The demo's screen, if the output is not a terminal."""

from __future__ import annotations

import re

import pytest

from demo.screen import Screen


def run(*steps: str, error: Exception | None = None) -> None:
    with Screen() as screen:
        for step in steps:
            screen.step(step)
        if error:
            raise error


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [re.sub(r"^ *\d+\.\d s  ", "", line) for line in capsys.readouterr().out.splitlines()]


def test_failed_step_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="reason"):
        run("first", "second", error=RuntimeError("reason"))
    assert printed(capsys) == ["first", "second", "✗ second"]


def test_successful_step_is_not_marked(capsys: pytest.CaptureFixture[str]) -> None:
    run("only")
    assert printed(capsys) == ["only"]
