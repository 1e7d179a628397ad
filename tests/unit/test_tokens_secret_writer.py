"""Tests of replacing a secret: atomically, and readable by one user only."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from producers.settings import ConfigError
from workers.tokens.secret import SecretFile
from workers.tokens.secret_writer import require_writable, write_secret


def test_secret_is_replaced_for_one_user_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    with path.open() as reader:
        write_secret(path, "new", tmp_path / "token.key")
        assert reader.read() == "old", "a reader sees the old or the new secret"
    assert SecretFile(path).read() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_only_the_old_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_secret(path, "new \udcff", tmp_path / "token.key")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_file_is_reported_before_the_login(tmp_path: Path) -> None:
    require_writable(tmp_path / "secret")
    with pytest.raises(ConfigError, match="as the token service's user"):
        require_writable(tmp_path / "missing" / "secret")
    with pytest.raises(ConfigError, match="systemd-creds"):
        require_writable(Path("$CREDENTIALS_DIRECTORY/secret"))
