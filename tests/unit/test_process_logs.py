"""Logs: JSON or console lines; without control characters and local variables."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.testbed.whole_system import ROOT

HOSTILE = "\x1b]0;owned\x07\u202ename\x9b31m"
# In a process of its own, because the configuration is global.
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


def test_json_has_one_object_per_line_with_role_cluster_and_time() -> None:
    accepted, failed = (json.loads(line) for line in logged("json").splitlines())
    assert (accepted["event"], accepted["level"]) == ("request_accepted", "info")
    assert (accepted["role"], accepted["cluster"]) == ("power", "vespa")
    assert (accepted["node"], accepted["count"]) == (HOSTILE, 3)
    assert accepted["timestamp"].endswith("Z")
    assert failed["exception"][0]["exc_type"] == "ValueError"


def test_console_lines_show_the_same_fields() -> None:
    accepted, failed, *traceback = logged("console").splitlines()
    for word in ("request_accepted", "[info", "cluster='vespa'", "role='power'", "count=3"):
        assert word in accepted
    assert "it_failed" in failed
    assert traceback[0].startswith("Traceback")


@pytest.mark.parametrize("form", ["json", "console"])
def test_logs_contain_no_control_characters_and_no_local_variables(form: str) -> None:
    log = logged(form)
    assert all(char.isprintable() or char == "\n" for char in log)
    assert "owned" in log
    assert "secret" not in log
