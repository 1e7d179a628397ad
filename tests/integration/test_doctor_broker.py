"""`lamplighter doctor` looks at the broker, and `--fix` creates what it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.cli.session import Session
from ops.doctor.command import fixed
from tests.testbed.installation import Installation
from workers.broker import topology

if TYPE_CHECKING:
    from pathlib import Path


def _found(site: Installation, *words: str) -> dict[str, str]:
    """The findings' words by key."""
    (line,) = site.lamplighter("doctor", "--json", *words).lines
    return {one["finding"]: one["words"] for one in line["findings"]}


def test_fix_creates_what_the_broker_lacks(run_dir: Path, broker_url: str) -> None:
    site = Installation(run_dir / "site", broker_url)
    site.make_hook_folders()
    before = _found(site)
    assert topology.RESUME_QUEUE in before["queues_missing"]
    assert before["topology"].startswith("exchange ")

    result = site.lamplighter("doctor", "--fix")
    assert result.err.count("fixed: lamplighter topology apply") == 1
    after = _found(site)
    assert {"queues_missing", "topology", "broker", "broker_version"}.isdisjoint(after)


def test_what_cannot_be_fixed_is_said_with_the_reason(run_dir: Path) -> None:
    site = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/nobody")
    line = fixed(Session(site.config), ("lamplighter", "topology", "apply"))
    assert line.startswith("NOT fixed: lamplighter topology apply: ")
    assert "the broker does not answer" in line
