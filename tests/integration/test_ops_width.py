"""What every listing prints fits a terminal of 80 columns, whatever strangers have said."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas.commands import WaitingJob
from schemas.snapshot import SlurmNode, Snapshot
from tests.testbed.console_site import ConsoleSite, failed, ran, resumed
from tests.testbed.installation import Installation
from tests.testbed.messages import CORRELATION, command, dead_letter
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from workers.resync.drift import Drift
from workers.resync.drift_memory import DriftMemory
from workers.slurm.node_memory import Due, NodeMemory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

NS = 10**9
REQUEST = "the failed request"  # replaced by its id
NODE = "compute-node-with-a-very-long-name-of-fifty-six-letters-001"
ODD = f"\u202e\x1b[31m{'x' * 300}</td> {'words and words ' * 30}\N{CJK UNIFIED IDEOGRAPH-4E00}" * 2
CLOUD = f"""
[clouds.{"c" * 60}]
auth_url = "https://cloud.invalid:5000/v3"
project_id = "{"p" * 120}"
[clouds.{"c" * 60}.source]
type = "oidc_refresh_token"
refresh_token_file = "refresh.token"
token_endpoint = "https://login.invalid/token"
[groups."{"g" * 60}"]
nodes = "{NODE},node[1-400]"
cloud = "{"c" * 60}"
"""
LISTINGS = (
    *(("nodes", "list"), ("nodes", "show", NODE), ("image", "list"), ("drift",), ("status",)),
    *(("config",), ("clock", "show"), ("topology", "show"), ("topology", "check")),
    *(("audit", "list"), ("audit", "tail"), ("audit", "why", "815"), ("audit", "failures")),
    *(("audit", "show", REQUEST), ("tokens", "status")),
    *(("audit", "slowest"), ("report",), ("doctor",)),
    *(("dead-letters", "list"), ("dead-letters", "list", "--by", "letter")),
)


@pytest.fixture(scope="module")
def made(session_dir: Path, broker: Broker) -> Iterator[tuple[Installation, str]]:
    vhost = broker.create_vhost()
    folder = session_dir / "width"
    folder.mkdir()
    site = Installation(folder, broker.amqp_url(vhost), more=CLOUD)
    site.prepare()
    filled, now = ConsoleSite(site, ""), time.time_ns()
    filled.set_nodes({NODE: ("up", "ERROR"), "node1": ("ready", "SHUTOFF")})
    filled.hold(NODE, ODD)
    down = "DOWN+CLOUD+POWERED_DOWN+NOT_RESPONDING+POWERING_UP"
    nodes = (SlurmNode(NODE, down, ODD), SlurmNode("stranger", "IDLE+DRAIN", ODD))
    cooling = NodeMemory(NODE, 1, 1, Due.RETURN, now + 3600 * NS, "quota", ODD)
    filled.out_of_service([cooling], Snapshot("test", now, CORRELATION, "controller", nodes))
    filled.drift([DriftMemory(NODE, Drift.LEFT_DOWN, now - 700 * NS)])
    lost = [
        replace(one, jobs=(WaitingJob(815),))
        for one in failed(NODE, now - 300 * NS, cause="quota", message=ODD)
    ]
    filled.record(
        [*lost, *resumed(NODE, now - 250 * NS, jobs=(815,)), *ran(NODE, 815, now - 300 * NS)]
    )
    letters = [
        dead_letter(
            replace(command(name, generation=now), note=ODD),
            more={"x-cause-message": ODD, "x-cause": ODD},
        )
        for name in (NODE, *(f"node{n}" for n in range(1, 20)))
    ]
    site.publish(letters)
    yield site, lost[0].request_id
    broker.delete_vhost(vhost)


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_every_listing_fits_80_columns_and_holds_no_control_character(
    made: tuple[Installation, str], words: tuple[str, ...]
) -> None:
    site, request = made
    done = subprocess.run(
        site.argv(*(request if word == REQUEST else word for word in words)),
        env={**MINIMAL_ENVIRONMENT, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in {0, 1, 3}, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    assert [line for line in lines if len(line) > 80] == []
    assert done.stdout.replace("\n", "").isprintable()


def test_a_pipe_gets_whole_lines(made: tuple[Installation, str]) -> None:
    listed = made[0].lamplighter("dead-letters", "list", "--by", "letter").out
    assert any(len(line) > 80 for line in listed.splitlines())
