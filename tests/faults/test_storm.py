"""A short storm with a fixed seed over real Slurm and RabbitMQ and a simulated cloud; `make storm` is the long one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storm.report import report
from storm.run import run

if TYPE_CHECKING:
    from pathlib import Path

SEED, SECONDS, NODES = 7, 45.0, 24


@pytest.mark.timeout(600)
def test_no_promise_is_broken_in_a_storm(run_dir: Path) -> None:
    """P1 to P4, P9 and P12 at once; prints what was checked."""
    result = run(run_dir, seed=SEED, seconds=SECONDS, nodes=NODES)
    print("\n".join(report(result)))  # noqa: T201 - pytest shows it with -rP, and after a failure
    assert not result.verdict.violations, [str(one) for one in result.verdict.violations]
    checked = result.verdict.checked
    assert checked["nodes of hook calls with a record"] > NODES
    assert checked["runs of tasks of jobs"] > NODES
    assert sum(result.done.values()) >= 10
