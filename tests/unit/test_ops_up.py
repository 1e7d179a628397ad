"""Which workers `lamplighter up` runs on a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.processes import up
from ops.processes.worker import WORKERS
from tests.testbed.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

ANYWHERE = ["tokens", "power", "audit", "relay"]


@pytest.mark.parametrize(
    ("here", "toml", "more"),
    [
        (True, "", ["slurm", "snapshot", "resync"]),
        (False, "", []),
        # the workers of a site whose slurmctld is elsewhere
        (False, "[resync]\nenabled = true\n", ["resync"]),
        (True, "[resync]\nenabled = false\n", ["slurm"]),
        (True, "[slurm]\nfeedback = false\n", ["snapshot", "resync"]),
        (False, "[slurm]\nfeedback = true\n", ["slurm"]),
    ],
)
def test_those_beside_slurm_run_where_slurm_is_or_where_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, here: bool, toml: str, more: list[str]
) -> None:
    monkeypatch.setattr(up, "is_installed", lambda _settings: here)
    settings = Installation(tmp_path, "amqp://me:secret@127.0.0.1:1/v", more=toml).settings
    assert up._all_here(settings) == [*ANYWHERE, *more]
    assert [name for name in WORKERS if name in ANYWHERE] == ANYWHERE
