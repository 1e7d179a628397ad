"""Which workers `lamplighter up` runs on a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.site import up
from ops.site.worker import WORKERS
from tests.testbed.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

ANYWHERE = ["tokens", "power", "audit", "relay"]


@pytest.mark.parametrize(
    ("here", "toml", "more"),
    [
        (True, "", ["slurm", "snapshot", "resync"]),
        (False, "", []),
        # the workers of an installation whose slurmctld runs on another host
        (False, "[resync]\nenabled = true\n", ["resync"]),
        (True, "[resync]\nenabled = false\n", ["slurm"]),
        (True, "[slurm]\nfeedback = false\n", ["snapshot", "resync"]),
        (False, "[slurm]\nfeedback = true\n", ["slurm"]),
    ],
)
def test_workers_that_need_slurm_run_where_it_is_installed_or_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, here: bool, toml: str, more: list[str]
) -> None:
    monkeypatch.setattr(up, "is_installed", lambda _settings: here)
    settings = Installation(tmp_path, "amqp://me:secret@127.0.0.1:1/v", more=toml).settings
    assert up._workers_here(settings) == [*ANYWHERE, *more]
    assert [name for name in WORKERS if name in ANYWHERE] == ANYWHERE
