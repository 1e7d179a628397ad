"""A file or folder that cannot be used: the error names the setting, the path and the remedy."""

from __future__ import annotations

import os
from errno import EACCES, EAGAIN, EDQUOT, EEXIST, EIO, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from typing import TYPE_CHECKING

import pytest

from producers import clock
from producers.disk import require_writable, unusable, user_name
from producers.settings import ConfigError
from workers.store.database import open_store

if TYPE_CHECKING:
    from pathlib import Path

# On SQLite: the file of a store that this user may not write.


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (ENOENT, "create the folder {folder}/none, owned by user "),
        (EACCES, "let user {user} use it (chown, chmod), or run this as its owner"),
        (EPERM, "let user {user} use it"),
        (ENOSPC, "free disk space"),
        (EDQUOT, "free disk space"),
        (EROFS, "mount it writable"),
        (EEXIST, "a file is in the way"),
        (ENOTDIR, "a file is in the way"),
        (EAGAIN, "find the lock's holder"),
        (EIO, "check the disk"),
    ],
)
def test_each_error_has_its_own_remedy(tmp_path: Path, code: int, remedy: str) -> None:
    path = tmp_path / "none/state.db"
    text = unusable("store.url", path, OSError(code, os.strerror(code)))
    wanted = remedy.format(folder=tmp_path, user=user_name())
    assert text.startswith(f"store.url: {os.strerror(code)}: {path}; {wanted}")


def test_a_file_that_can_be_made_or_changed_is_writable(tmp_path: Path) -> None:
    require_writable(tmp_path / "new")
    (tmp_path / "old").touch()
    require_writable(tmp_path / "old")
    with pytest.raises(FileNotFoundError):
        require_writable(tmp_path / "none/new")


def test_a_wrong_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "own"
    folder.mkdir(mode=0o555)
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode == os.F_OK or path != folder)
    with pytest.raises(ConfigError) as caught:
        open_store(f"sqlite:///{folder}/state.db", "state")
    assert str(caught.value).startswith(
        f"store.url: Permission denied: {folder}/state.db; let user {user_name()} use it"
    )


def test_a_clock_begins_where_the_call_that_gives_files_away_is_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where SlurmUser is root: the system call filter of the snapshot worker's unit refuses fchown to root, too."""

    def refuse(*_: int) -> None:
        raise PermissionError(EPERM, os.strerror(EPERM))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", refuse)
    assert clock.stamp(tmp_path / "clock")
