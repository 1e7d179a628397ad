"""A folder that this user may not enter: what is in it is unknown, and errors say who may not read what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from ops.audit.chain import trusted_keys
from ops.cli.main import cli
from ops.cli.session import Session
from producers.disk import may_exist, user_name
from producers.settings import ConfigError
from workers.config.settings import load
from workers.config.slurm_location import is_installed, slurm_conf

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = 'cluster = "vespa"\n[broker]\nurl = "amqp://lamplighter@127.0.0.1/v"\n'


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this process, root too, may not enter; it has a file of each kind."""
    folder = tmp_path / "closed"
    folder.mkdir()
    for name in ("slurm.conf", "lamplighter.toml", "site.yaml", "clouds.yaml", "audit.key.pub"):
        (folder / name).touch()

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *more: Any, **how: Any) -> Any:  # noqa: ANN401 - the system's
            inside = isinstance(path, str | Path) and folder in Path(path).parents
            if inside or (real in {scandir, listdir} and Path(path) == folder):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *more, **how)

        return call

    scandir, listdir = os.scandir, os.listdir
    for name in ("stat", "open", "scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    access = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, *a, **k: folder not in Path(path).parents and access(path, *a, **k),
    )
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a lamplighter.toml with more lines."""

    def write(more: str) -> Path:
        path = tmp_path / "lamplighter.toml"
        path.write_text(HEAD + more)
        path.chmod(0o600)
        return path

    return write


def test_what_is_in_a_closed_folder_may_exist(closed: Path) -> None:
    assert may_exist(closed / "slurm.conf")
    assert may_exist(closed)
    assert not may_exist(closed.parent / "nothing")
    assert not may_exist(closed.parent / "a\0b")


@pytest.mark.parametrize("named", [True, False])
def test_a_slurm_conf_that_this_user_may_not_read_is_one(
    closed: Path, config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    """Slurm's commands then say what is wrong; `doctor`, `up` and the power worker go on."""
    bin_ = closed.parent / "bin"
    bin_.mkdir()
    (bin_ / "scontrol").touch(mode=0o755)
    conf = closed / "slurm.conf"
    monkeypatch.setenv("SLURM_CONF", str(conf))
    more = f'conf = "{conf}"\n' if named else ""
    settings = load(config(f'[slurm]\nbin = "{bin_}"\n{more}'), {})
    assert is_installed(settings)
    assert slurm_conf(settings) == conf


def test_config_shows_the_file_that_counts_beside_a_closed_folder(
    closed: Path, config: Callable[[str], Path]
) -> None:
    file = config("")
    environ = {"SLURM_CONF": str(closed / "slurm.conf"), "COLUMNS": "200"}
    shown = CliRunner().invoke(cli, ["--config", str(file), "config"], env=environ)
    assert shown.exit_code == 0, shown.output
    assert f"COUNTS               {file}" in shown.output
    assert f"not known: no access {closed / 'lamplighter.toml'}" in shown.output


@pytest.mark.parametrize(
    "named",
    [
        'fedcloud_site = "closed/site.yaml"\nvo = "v"',
        'fedcloud_site = "closed"\nsite = "S"\nvo = "v"',
        'clouds_yaml = "closed/clouds.yaml"',
    ],
)
def test_a_cloud_in_a_closed_folder_is_named_with_the_user_who_may_not_read_it(
    closed: Path, config: Callable[[str], Path], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config(f"[clouds.a]\n{named}\n"), {})
    assert str(caught.value).startswith(str(closed))
    assert f"let user {user_name()} read it, and enter its folders" in str(caught.value)


def test_a_public_key_in_a_closed_folder_is_not_called_absent(
    closed: Path, config: Callable[[str], Path]
) -> None:
    """Signatures would pass unchecked."""
    session = Session(config(f'[audit]\nkey_file = "{closed / "audit.key"}"\n'))
    with pytest.raises(ConfigError, match="Permission denied; pass the public key with --key"):
        trusted_keys(session, ())
