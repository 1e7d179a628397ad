"""Tests of secrets in files, whose permissions are checked, and from commands."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from producers.settings import ConfigError
from tests.testbed.stores import STORES
from workers.config.settings import load
from workers.store.database import open_store
from workers.tokens.errors import SourceError
from workers.tokens.secret import SecretCommand, SecretFile, secret_of
from workers.tokens.service import make_sources
from workers.tokens.vault_key import load_keys

CLOUDS = """\
cluster = "test"
[broker]
url = "amqp://u@127.0.0.1/v"
[hooks]
spool = "spool"
state = "state"
[tokens]
key_file = "token.key"
[clouds.person]
auth_url = "http://127.0.0.1:9/v3"
project_id = "p"
[clouds.person.source]
type = "oidc_refresh_token"
token_endpoint = "http://127.0.0.1:9/token"
refresh_token_file = "refresh"
[clouds.robot]
auth_url = "http://127.0.0.1:9/v3"
[clouds.robot.source]
type = "application_credential"
id = "1"
secret_command = ["echo", "secret"]
"""


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_secret_is_read_without_its_line_end(tmp_path: Path, mode: int) -> None:
    assert SecretFile(put(tmp_path / "secret", "swordfish\n", mode)).read() == "swordfish"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644])
def test_file_open_to_other_users_is_refused_with_a_remedy(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path / "secret", "swordfish", mode)
    with pytest.raises(SourceError, match=f"mode {mode:04o}") as caught:
        SecretFile(path).read()
    error = caught.value
    assert (error.error, error.permanent) == ("credential_unusable", True)
    assert str(path) in error.message
    assert "mode 0600" in (error.remedy or "")
    assert "swordfish" not in f"{error!r}{error}{error.remedy}"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\xfd"])
def test_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(SourceError, match="secret"):
        SecretFile(path).read()


def test_fingerprint_changes_with_content_time_mode_and_inode(
    tmp_path: Path,
) -> None:
    path = tmp_path / "secret"
    fingerprint = SecretFile(path).fingerprint
    seen = {fingerprint()}
    put(path, "a")
    seen.add(fingerprint())
    os.utime(path, ns=(1, 1))
    seen.add(fingerprint())
    path.chmod(0o644)
    seen.add(fingerprint())
    put(tmp_path / "new", "a").rename(path)
    seen.add(fingerprint())
    assert len(seen) == 5
    assert fingerprint() in seen


def test_key_is_created_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_keys(path), range(8)))
    assert len(keys) == 1
    (key,) = keys.pop()
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("too short", 0o600),
        (base64.b64encode(b"x" * 16).decode(), 0o600),
        (base64.b64encode(b"x" * 32).decode(), 0o640),
        ("", 0o600),
        ("\u00e9" * 44, 0o600),
    ],
)
def test_unusable_key_file_is_refused_by_name(tmp_path: Path, text: str, mode: int) -> None:
    with pytest.raises(ConfigError, match=r"tokens\.key_file: .*token\.key"):
        load_keys(put(tmp_path / "token.key", text, mode))


def test_key_file_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokens.key_file: No such file .*create the folder"):
        load_keys(tmp_path / "missing" / "token.key")


@pytest.mark.parametrize("content", [b"too short", b"", b"\xff"])
def test_an_unusable_key_file_stops_no_cloud_that_needs_none(
    tmp_path: Path, content: bytes
) -> None:
    key = tmp_path / "token.key"
    key.write_bytes(content)
    key.chmod(0o600)
    put(tmp_path / "refresh", "token")
    config = put(tmp_path / "lamplighter.toml", CLOUDS)
    store = open_store(STORES.url(tmp_path / "state.db"), "state")
    sources = make_sources(load(config), store, "me")
    for _ in range(2):
        with pytest.raises(SourceError, match=r"tokens\.key_file: .*token\.key") as caught:
            sources["person"].fetch()
        assert (caught.value.error, bool(caught.value.remedy)) == ("misconfigured", True)
        with pytest.raises(SourceError, match="does not respond"):
            sources["robot"].fetch()
    put(key, base64.b64encode(b"x" * 32).decode())
    with pytest.raises(SourceError, match="does not respond"):
        sources["person"].fetch()
    store.dispose()


def test_systemd_credential_may_be_readable_by_its_group_but_not_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ACL for the unit's user shows as a permission of the group."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    secret = SecretFile(Path("$CREDENTIALS_DIRECTORY/password"))
    put(tmp_path / "password", "swordfish", 0o440)
    assert secret.read() == "swordfish"
    before = secret.fingerprint()
    put(tmp_path / "password", "swordfish", 0o444)
    with pytest.raises(SourceError, match="open to other users"):
        secret.read()
    assert secret.fingerprint() != before


def test_missing_systemd_credential_is_reported_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    secret = SecretFile(Path("$CREDENTIALS_DIRECTORY/password"))
    with pytest.raises(SourceError, match="CREDENTIALS_DIRECTORY/password") as caught:
        secret.read()
    assert "LoadCredential" in (caught.value.remedy or "")
    assert secret.fingerprint() == "credential_unusable"


def test_command_prints_the_secret_and_runs_without_a_shell() -> None:
    secret = secret_of(None, ("printf", "%s\n", "$HOME; sword fish"))
    assert secret.read() == "$HOME; sword fish"
    assert "sword" not in secret.place


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("sh", "-c", "echo swordfish; echo swordfish >&2; exit 3"), "exited with status 3"),
        (("true",), "printed nothing"),
        (("printf", "\\377"), "non-UTF-8"),
        (("/no/such/program",), "cannot be run: No such file"),
    ],
)
def test_failed_command_is_reported_without_its_output(
    words: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(SourceError, match=problem) as caught:
        SecretCommand(words).read()
    error = caught.value
    assert (error.error, error.permanent) == ("command_failed", False)
    assert error.remedy is not None
    assert "swordfish" not in f"{error!r}{error}{error.remedy}"


@pytest.mark.parametrize("mode", [0o757, 0o775])
def test_a_program_that_others_can_change_is_not_run(tmp_path: Path, mode: int) -> None:
    """It would see whatever the token service sees."""
    program = put(tmp_path / "print-secret", "#!/bin/sh\necho swordfish\n", mode)
    with pytest.raises(SourceError, match=f"mode {mode:04o}.*chmod go-w") as caught:
        SecretCommand((str(program),)).read()
    assert str(program) in caught.value.message
    program.chmod(0o755)
    assert SecretCommand((str(program),)).read() == "swordfish"


def test_fingerprint_of_a_command_changes_every_hour() -> None:
    now = 0.0
    secret = SecretCommand(("true",), clock=lambda: now)
    first = secret.fingerprint()
    now = 3599.0
    assert secret.fingerprint() == first
    now = 3600.0
    assert secret.fingerprint() != first
