"""A request that root sends leaves no files that the hooks, which run as SlurmUser, cannot use."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import click
import pytest

from ops.nodes.submit import check_hook_directories, resolve_nodes
from producers.broker_settings import BrokerSettings
from producers.settings import ConfigError, HookSettings

if TYPE_CHECKING:
    from pathlib import Path

    from ops.cli.session import Session

SLURM = 64030


@pytest.fixture
def settings(tmp_path: Path) -> HookSettings:
    return HookSettings(
        cluster="test",
        broker=BrokerSettings(("amqp://guest@127.0.0.1:1/none",)),
        spool=tmp_path / "spool",
        state=tmp_path / "clock",
        log_file=None,
        resume_timeout=600,
        suspend_timeout=60,
    )


def test_root_is_refused_if_a_directory_is_missing_or_belongs_to_another_user(
    settings: HookSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match=r"hooks\.state: .* create it, owned by SlurmUser"):
        check_hook_directories(settings)
    settings.state.mkdir()
    settings.spool.mkdir()
    if ours == 0:
        check_hook_directories(settings)
        os.chown(settings.state, SLURM, SLURM)
    with pytest.raises(ConfigError, match=r"belongs to .*; run this command as that user"):
        check_hook_directories(settings)


def test_other_users_depend_on_the_permissions_of_the_directories(
    settings: HookSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: SLURM)
    check_hook_directories(settings)


def test_a_name_of_a_group_and_of_another_groups_node_is_refused() -> None:
    """`suspend node1` would power off a whole group otherwise."""
    groups = {"node1": "node[2-5]", "login": "login", "all": "node1"}
    nodes = {**dict.fromkeys(("node2", "node3"), "node1"), "login": "login", "node1": "all"}
    known = SimpleNamespace(groups=groups, nodes=nodes, path="l.toml")
    session = cast("Session", SimpleNamespace(settings=known))
    with pytest.raises(click.BadParameter, match=r"node1 is a group and a node: .*: node\[2-3\]"):
        resolve_nodes(session, "node1")
    assert resolve_nodes(session, "login") == ["login"]
    assert resolve_nodes(session, "all") == ["node1"]
    assert resolve_nodes(session, "node[2-3]") == ["node2", "node3"]
