"""Logs: JSON for machines, lines for people; no hostile string steers a terminal, no local variable shows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.testbed.whole_system import ROOT

HOSTILE = "\x1b]0;owned\x07\u202ename\x9b31m"
# In a process of its own: what is configured here is the whole process's.
PROGRAM = """
import sys
import structlog
from workers.process.logs import configure_logs
from workers.config.tables import LogSettings
configure_logs(LogSettings(format=sys.argv[1], level="info"), role="power", cluster="vespa")
log = structlog.get_logger()
log.debug("too_fine")
log.info("request_accepted", node=sys.argv[2], count=3)
def fail():
    token = "sec" + "ret"
    raise ValueError(sys.argv[2])
try:
    fail()
except ValueError:
    log.exception("it_failed")
"""


def logged(form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, form, HOSTILE],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=30,
    )
    assert done.stdout == ""
    return done.stderr


def test_json_is_one_object_a_line_with_role_cluster_and_time() -> None:
    accepted, failed = (json.loads(line) for line in logged("json").splitlines())
    assert (accepted["event"], accepted["level"]) == ("request_accepted", "info")
    assert (accepted["role"], accepted["cluster"]) == ("power", "vespa")
    assert (accepted["node"], accepted["count"]) == (HOSTILE, 3)
    assert accepted["timestamp"].endswith("Z")
    assert failed["exception"][0]["exc_type"] == "ValueError"


def test_lines_for_people_say_the_same_in_words() -> None:
    accepted, failed, *traceback = logged("console").splitlines()
    for word in ("request_accepted", "[info", "cluster='vespa'", "role='power'", "count=3"):
        assert word in accepted
    assert "it_failed" in failed
    assert traceback[0].startswith("Traceback")


@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_that_is_logged_can_steer_a_terminal_or_shows_a_local_variable(form: str) -> None:
    told = logged(form)
    assert all(char.isprintable() or char == "\n" for char in told)
    assert "owned" in told
    assert "secret" not in told
