"""Asking as root must not make files that SlurmUser, whose folders they are in, cannot use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ops.nodes.submit import refuse_to_shut_the_hooks_out
from producers.settings import BrokerSettings, ConfigError, HookSettings

if TYPE_CHECKING:
    from pathlib import Path

SLURM = 64030


@pytest.fixture
def settings(tmp_path: Path) -> HookSettings:
    return HookSettings(
        cluster="test",
        broker=BrokerSettings("amqp://guest@127.0.0.1:1/none"),
        spool=tmp_path / "spool",
        state=tmp_path / "clock",
        log_file=None,
        resume_timeout=600,
        suspend_timeout=60,
    )


def test_root_uses_no_folder_that_is_missing_or_someone_else_s(
    settings: HookSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match=r"hooks\.state: .* make it, owned by SlurmUser"):
        refuse_to_shut_the_hooks_out(settings)
    settings.state.mkdir()
    settings.spool.mkdir()
    if ours == 0:
        refuse_to_shut_the_hooks_out(settings)
        os.chown(settings.state, SLURM, SLURM)
    with pytest.raises(ConfigError, match=r"belongs to .*; run this as that user"):
        refuse_to_shut_the_hooks_out(settings)


def test_others_find_out_by_the_folders_own_permissions(
    settings: HookSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: SLURM)
    refuse_to_shut_the_hooks_out(settings)
