"""Secrets come from files, and the files are looked at closely."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from producers.settings import ConfigError
from workers.tokens.errors import SourceError
from workers.tokens.key import load_key
from workers.tokens.secretfile import fingerprint, read_secret

if TYPE_CHECKING:
    from pathlib import Path


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_is_read_without_its_line_end(tmp_path: Path, mode: int) -> None:
    assert read_secret(put(tmp_path / "secret", "swordfish\n", mode)) == "swordfish"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644])
def test_a_file_that_others_may_open_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path / "secret", "swordfish", mode)
    with pytest.raises(SourceError, match=f"mode {mode:04o}") as caught:
        read_secret(path)
    error = caught.value
    assert (error.error, error.permanent) == ("credential_unusable", True)
    assert str(path) in error.message
    assert "mode 0600" in (error.remedy or "")
    assert "swordfish" not in f"{error!r}{error}{error.remedy}"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\xfd"])
def test_what_holds_no_secret_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(SourceError, match="secret"):
        read_secret(path)


def test_a_fingerprint_tells_a_replaced_changed_missing_or_newly_protected_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "secret"
    seen = {fingerprint(path)}
    put(path, "a")
    seen.add(fingerprint(path))
    os.utime(path, ns=(1, 1))
    seen.add(fingerprint(path))
    path.chmod(0o644)
    seen.add(fingerprint(path))
    put(tmp_path / "new", "a").rename(path)
    seen.add(fingerprint(path))
    assert len(seen) == 5
    assert fingerprint(path) in seen


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_key(path), range(8)))
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("too short", 0o600),
        (base64.b64encode(b"x" * 16).decode(), 0o600),
        (base64.b64encode(b"x" * 32).decode(), 0o640),
        ("", 0o600),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, text: str, mode: int
) -> None:
    with pytest.raises(ConfigError, match=r"tokens\.key_file: .*token\.key"):
        load_key(put(tmp_path / "token.key", text, mode))


def test_a_key_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made: No such file"):
        load_key(tmp_path / "missing" / "token.key")
