"""Where lamplighter.toml is found, and that hooks and commands read the same file or say it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from ops.cli.main import cli
from producers import config_file
from producers.config_file import find_config, hooks_file, note_hooks_file
from producers.settings import hook_settings

if TYPE_CHECKING:
    import os


def test_the_file_is_found_by_its_variable_then_beside_slurm_conf_then_in_etc(
    tmp_path: Path,
) -> None:
    beside = tmp_path / "lamplighter.toml"
    environ = {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    assert find_config(environ) == Path("/etc/lamplighter/lamplighter.toml")
    beside.touch()
    assert find_config(environ) == beside
    assert find_config({**environ, "LAMPLIGHTER_CONFIG": "/else/x.toml"}) == Path("/else/x.toml")
    assert find_config({}) == Path("/etc/lamplighter/lamplighter.toml")


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of the usual folders, none of which exists yet."""
    root = tmp_path / "root"
    folders = tuple(str(root / name) for name in ("etc/slurm", "usr/local/etc"))
    monkeypatch.setattr(config_file, "SLURM_FOLDERS", folders)
    monkeypatch.setattr(config_file, "DEFAULT_FOLDER", root / "etc/lamplighter")
    return root


def put(path: Path, cluster: str = "vespa") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "state").mkdir(exist_ok=True)
    path.write_text(
        f'cluster = "{cluster}"\n[broker]\nurl = "amqp://me@localhost:5672/v"\n'
        '[hooks]\nstate = "state"\n'
    )
    return path


def test_a_hook_and_a_shell_without_slurm_conf_find_the_file_beside_slurm_conf(usual: Path) -> None:
    hook = {"SLURM_CONF": str(usual / "etc/slurm/slurm.conf")}
    shell = {"PATH": str(usual / "opt/bin")}
    for place in ("etc/lamplighter", "usr/local/etc", "etc/slurm"):
        file = put(usual / place / "lamplighter.toml")
        assert find_config(hook) == find_config(shell) == file


def test_the_folder_etc_beside_slurms_commands_is_searched_too(usual: Path) -> None:
    scontrol = usual / "opt/slurm/bin/scontrol"
    scontrol.parent.mkdir(parents=True)
    scontrol.touch(mode=0o755)
    link = usual / "bin/scontrol"
    link.parent.mkdir()
    link.symlink_to(scontrol)
    file = put(usual / "opt/slurm/etc/lamplighter.toml")
    assert find_config({"PATH": f"/nowhere::{link.parent}"}) == file


def test_a_folder_that_this_user_may_not_enter_is_an_error_not_skipped(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hooks may enter it: skipping it would let commands read another file."""
    hidden = put(usual / "etc/slurm/lamplighter.toml")
    put(usual / "etc/lamplighter/lamplighter.toml")
    stat = Path.stat

    def refusing(self: Path, **more: bool) -> os.stat_result:
        if self == hidden:
            raise PermissionError(13, "Permission denied")
        return stat(self, **more)

    monkeypatch.setattr(Path, "stat", refusing)
    assert find_config({}) == hidden


def test_the_file_that_hooks_read_is_noted_where_commands_look(usual: Path) -> None:
    """A slurm.conf in a folder that no command searches: hooks alone know it, and say it."""
    own = put(usual / "custom/lamplighter.toml")
    environ = {"SLURM_CONF": str(usual / "custom/slurm.conf")}
    assert find_config(environ) == own
    assert note_hooks_file(own, hook_settings(own), environ) is None
    assert hooks_file(own, hook_settings(own)) is None
    shell = put(usual / "etc/lamplighter/lamplighter.toml")
    assert note_hooks_file(own, hook_settings(own), environ) == shell
    assert hooks_file(shell, hook_settings(shell)) == own
    # the files of a host of two clusters differ, even with one state folder
    theirs = put(shell, "another")
    assert note_hooks_file(own, hook_settings(own), environ) is None
    assert hooks_file(theirs, hook_settings(theirs)) is None


def test_a_command_that_reads_another_file_than_the_hooks_warns(usual: Path) -> None:
    own = put(usual / "custom/lamplighter.toml")
    shell = put(usual / "etc/lamplighter/lamplighter.toml")
    unset = {"LAMPLIGHTER_CONFIG": None, "SLURM_CONF": None, "PATH": ""}
    assert CliRunner().invoke(cli, ["config"], env=unset).stderr == ""
    note_hooks_file(own, hook_settings(own), {"SLURM_CONF": str(own.with_name("slurm.conf"))})
    result = CliRunner().invoke(cli, ["config"], env=unset)
    assert f"two files: hooks read {own}, this command {shell};" in result.stderr
    own.unlink()  # as the warning advises
    assert CliRunner().invoke(cli, ["config"], env=unset).stderr == ""


def test_a_note_that_cannot_be_written_or_read_stops_nobody(usual: Path) -> None:
    own = put(usual / "custom/lamplighter.toml")
    settings = hook_settings(own)
    note = settings.state / "hooks-read.vespa"
    settings.state.rmdir()
    assert note_hooks_file(own, settings, {}) is None
    assert hooks_file(own, settings) is None
    settings.state.mkdir()
    for content in (b"\xff", b"a\0b", b"", b"relative", b"/" + b"x" * 10_000):
        note.write_bytes(content)
        assert hooks_file(own, settings) is None


def test_a_note_that_only_slurmuser_may_read_stops_no_worker(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the clock is SlurmUser's; most workers run as another user."""
    own = put(usual / "custom/lamplighter.toml")
    settings = hook_settings(own)
    note_hooks_file(own, settings, {})
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=PermissionError(13, "denied")))
    assert hooks_file(own, settings) is None


def test_a_folder_without_access_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environ = {"SLURM_CONF": str(tmp_path / "file" / "slurm.conf")}
    assert find_config(environ) == Path("/etc/lamplighter/lamplighter.toml")
    assert find_config({"SLURM_CONF": "x" * 5000}) == Path("/etc/lamplighter/lamplighter.toml")
