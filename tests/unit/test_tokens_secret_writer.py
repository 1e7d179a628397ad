"""A new secret replaces the old one whole, for its reader alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from producers.settings import ConfigError
from workers.tokens.secret import read_secret
from workers.tokens.secret_writer import require_writable, write_secret


def test_a_secret_is_replaced_for_its_reader_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    with path.open() as reader:
        write_secret(path, "new", tmp_path / "token.key")
        assert reader.read() == "old", "who reads meanwhile sees one or the other"
    assert read_secret(path) == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_secret_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_secret(path, "new \udcff", tmp_path / "token.key")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_told_beforehand(tmp_path: Path) -> None:
    require_writable(tmp_path / "secret")
    with pytest.raises(ConfigError, match="as the token service's user"):
        require_writable(tmp_path / "missing" / "secret")
    with pytest.raises(ConfigError, match="systemd-creds"):
        require_writable(Path("$CREDENTIALS_DIRECTORY/secret"))
