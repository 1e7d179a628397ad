"""`lamplighter doctor` names files that only the work of a worker would find missing or unusable."""

from __future__ import annotations

import base64
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from ops.doctor import named_files
from ops.doctor.settings import of_settings
from ops.site.findings import Severity
from tests.unit.test_doctor_settings import settings
from workers.audit.signing import load_signer
from workers.config.settings import load

if TYPE_CHECKING:
    from pathlib import Path

# On SQLite: the example of lamplighter.toml, which PostgreSQL's URLs replace.

HOOK = '[[notify.webhook]]\nname = "m"\nevents = ["failed"]\n'
SIGNED = f'{HOOK}url = "https://h.example.org/x"\nsecret_file = "secret"\n'
ELSEWHERE = f'{HOOK}url_file = "secret"\n'
AUTHORITY = f'{HOOK}url = "https://h.example.org/x"\nca_file = "ca.pem"\n'
OPERATORS = '[console]\noperators_file = "secret"\n'
PROXY = '[console]\nproxy = { address = "127.0.0.1", header = "X-U", secret_file = "secret" }\n'
SECRET = base64.b64encode(b"k" * 32).decode()
DIGEST = f"ann sha256:{'0' * 64}\n"
# (lamplighter.toml, the file `secret` or None, what the finding says or None)
FILES = [
    (SIGNED, None, "notify.webhook m: secret_file: "),
    (SIGNED, " \n", "is empty"),
    (SIGNED, "short", "line 1 is not at least 24 bytes in base64"),
    (SIGNED, f"whsec_{SECRET}\n", None),
    (ELSEWHERE, None, "notify.webhook m: url_file: "),
    (ELSEWHERE, "ftp://secret-host/x", "url_file: "),
    (ELSEWHERE, "https://h.example.org/x", None),
    (AUTHORITY, None, "ca.pem is not a file"),
    (OPERATORS, None, "console.operators_file: "),
    (OPERATORS, "# nobody yet\n", "names no operator"),
    (OPERATORS, DIGEST, None),
    (f"{OPERATORS}login_to_read = true\n", DIGEST, None),
    ("[console]\nlogin_to_read = true\n", None, "reading needs a login"),
    ('[console]\nlisten = "0.0.0.0:8617"\n', None, "reading needs a login"),
    ('[console]\nlisten = "0.0.0.0:8617"\nlogin_to_read = false\n', None, None),
    (PROXY, None, "console.proxy.secret_file: "),
    (PROXY, "", "is empty"),
    (f"{PROXY}login_to_read = true\n", "s", None),
    ('[audit]\nheads_file = "no/heads"\n', None, "audit.heads_file: the folder "),
    ('[audit]\nkey_file = "no/key"\n', None, "audit.key_file: the folder "),
]


@pytest.mark.parametrize(("text", "secret", "words"), FILES)
def test_a_file_that_cannot_serve_is_named_before_its_first_use(
    run_dir: Path, text: str, secret: str | None, words: str | None
) -> None:
    if secret is not None:
        (run_dir / "secret").write_text(secret)
        (run_dir / "secret").chmod(0o600)
    found = list(of_settings(settings(run_dir, text)))
    assert [words in one.words for one in found] == ([True] if words else []), found  # type: ignore[operator]
    assert all(one.severity is Severity.WRONG and one.remedy for one in found)
    assert not any("secret-host" in one.words for one in found)


def test_an_audit_key_that_cannot_sign_is_named(run_dir: Path) -> None:
    key = run_dir / "audit.key"
    load_signer(key)
    assert list(of_settings(settings(run_dir, ""))) == []
    key.write_text("no PEM")
    (found,) = of_settings(settings(run_dir, ""))
    assert "audit.key_file: " in found.words


def test_what_only_the_service_sees_is_not_judged(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials of systemd, files of another user, and workers whose secret is on another host."""
    credential = SIGNED.replace('"secret"', '"$CREDENTIALS_DIRECTORY/x"')
    assert list(of_settings(settings(run_dir, credential))) == []
    (run_dir / "secret").write_text("no secret")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert list(of_settings(settings(run_dir, SIGNED))) == []
    monkeypatch.undo()
    users = '[broker.users]\nfolder = "broker"\n'
    loaded = settings(run_dir, f"{SIGNED}{OPERATORS}")
    text = loaded.path.read_text().replace('password_file = "password"', users, 1)
    loaded.path.write_text(text.replace("amqp://l@", "amqp://"))
    assert list(of_settings(load(loaded.path, {}))) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
@pytest.mark.parametrize(
    ("text", "content", "remedy"),
    [(SIGNED, SECRET, "chown nobody "), (OPERATORS, DIGEST, "chgrp nobody ")],
)
def test_a_file_that_the_workers_may_not_read_is_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, text: str, content: str, remedy: str
) -> None:
    monkeypatch.setattr(named_files, "CONFIG", run_dir)
    monkeypatch.setattr(named_files, "HIDDEN", ())
    monkeypatch.setattr(named_files, "WORKERS_USER", "nobody")
    (run_dir / "secret").write_text(content)
    (run_dir / "secret").chmod(0o600)
    (found,) = (one for one in of_settings(settings(run_dir, text)) if one.kind != "audit_heads")
    assert "nobody may not " in found.words
    if "enter" not in found.words:  # the test's own folder may be closed
        assert (found.remedy or "").startswith(remedy)


@pytest.mark.parametrize(
    ("key", "table"), [("broker.ca_file", "[broker]"), ("clouds.c.ca_file", "[clouds.c]")]
)
def test_authorities_that_the_workers_may_not_read_are_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, key: str, table: str
) -> None:
    monkeypatch.setattr(named_files, "CONFIG", run_dir)
    monkeypatch.setattr(named_files, "HIDDEN", ())
    monkeypatch.setattr(named_files, "WORKERS_USER", "nobody")
    (run_dir / "ca.pem").touch(mode=0o600)
    loaded = settings(run_dir, "")
    text = loaded.path.read_text().replace(f"{table}\n", f'{table}\nca_file = "ca.pem"\n', 1)
    loaded.path.write_text(text)
    found = [one for one in of_settings(load(loaded.path, {})) if one.words.startswith(key)]
    assert [one.kind for one in found] == ["rights"]
    assert "nobody may not " in found[0].words


def test_a_link_to_the_configuration_of_init_is_that_one(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one beside slurm.conf: the rights of its files are checked all the same."""
    monkeypatch.setattr(named_files, "CONFIG", run_dir)
    loaded = settings(run_dir, "")
    link, copy = run_dir / "link.toml", run_dir / "copy.toml"
    link.symlink_to(loaded.path)
    shutil.copy(loaded.path, copy)
    assert [named_files.is_inits(one) for one in (loaded.path, link, copy)] == [True, True, False]


def hidden_authorities(run_dir: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> Path:
    """A file of authorities in a folder that the units of a host set up by `init` do not see."""
    monkeypatch.setattr(named_files, "CONFIG", run_dir)
    monkeypatch.setattr(named_files, "HIDDEN", (run_dir / folder,))
    monkeypatch.setattr(named_files, "WORKERS_USER", "nobody")
    (run_dir / folder).mkdir()
    (run_dir / folder / "ca.pem").touch()
    return run_dir / folder / "ca.pem"


@pytest.mark.parametrize("key", ["url", "audit_url"])
def test_authorities_of_the_database_that_the_workers_may_not_read_are_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """As one in /root: libpq would tell the workers alone, and only that there is no such file."""
    hidden = hidden_authorities(run_dir, monkeypatch, "root")
    loaded = settings(run_dir, "")
    there = f"postgresql+psycopg://u@h/d?sslmode=verify-full&sslrootcert={hidden}"
    before = f'\n{key} = "sqlite:///{"state" if key == "url" else "audit"}.db"'
    text = loaded.path.read_text().replace(before, f'\n{key} = "{there}"')
    loaded.path.write_text(text)
    found = [one for one in of_settings(load(loaded.path, {})) if one.kind == "rights"]
    assert [one.words.partition(": /")[0] for one in found] == [f"store.{key}: sslrootcert"]
    assert found[0].remedy == f"move it to {run_dir}"


@pytest.mark.parametrize("file", ["home/ca.pem", "link.pem"])
def test_authorities_that_the_units_do_not_see_are_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """ProtectHome= and PrivateTmp= hide them, whoever may read them."""
    hidden = hidden_authorities(run_dir, monkeypatch, "home")
    (run_dir / "link.pem").symlink_to(hidden)
    loaded = settings(run_dir, "")
    text = loaded.path.read_text().replace("[clouds.c]\n", f'[clouds.c]\nca_file = "{file}"\n', 1)
    loaded.path.write_text(text)
    found = [one for one in of_settings(load(loaded.path, {})) if one.kind == "rights"]
    words = (
        f"clouds.c.ca_file: {run_dir}/{file}: systemd's units do not see what is in {run_dir}/home"
    )
    assert [(one.words, one.remedy) for one in found] == [(words, f"move it to {run_dir}")]


@pytest.mark.skipif(os.geteuid() != 0, reason="looks with the rights of another user")
def test_an_audit_file_that_the_workers_may_not_write_is_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the defaults, which lie beside lamplighter.toml: the worker says so in its log alone."""
    monkeypatch.setattr(named_files, "CONFIG", run_dir)
    monkeypatch.setattr(named_files, "HIDDEN", ())
    monkeypatch.setattr(named_files, "WORKERS_USER", "nobody")
    found = [one.words for one in of_settings(settings(run_dir, ""))]
    assert found == [
        f"audit.key_file: nobody may not write {run_dir}/audit.key",
        f"audit.heads_file: nobody may not write {run_dir}/audit.heads",
    ]
    load_signer(run_dir / "audit.key")
    (run_dir / "audit.heads").touch(mode=0o644)
    found = [one.words for one in of_settings(settings(run_dir, ""))]
    assert found[0] == f"audit.key_file: nobody may not read {run_dir}/audit.key"
    for name in ("audit.key", "audit.heads"):
        shutil.chown(run_dir / name, "nobody")
    assert list(of_settings(settings(run_dir, ""))) == []


@pytest.mark.parametrize(
    ("network", "networks", "wrong"),
    [
        ("slrm", '["slurm"]', True),
        ("slurm", '["none"]', True),
        ("slurm", '["public", "slurm"]', False),
        ("slurm", '["auto"]', False),
        ("slurm", '["0a8b0c1d-2e3f-4a5b-8c6d-7e8f9a0b1c2d"]', False),
        ("0a8b0c1d-2e3f-4a5b-8c6d-7e8f9a0b1c2d", '["slurm"]', False),
    ],
)
@pytest.mark.parametrize("addresses", [True, False])
def test_a_network_that_new_servers_are_not_on_is_named(
    run_dir: Path, network: str, networks: str, *, wrong: bool, addresses: bool
) -> None:
    text = f'network = "{network}"\n[groups.g.server]\nimage = "i"\nflavor = "f"\nnetworks = {networks}\n'
    found = list(of_settings(settings(run_dir, text, f"set_addresses = {str(addresses).lower()}")))
    assert len(found) == (wrong and addresses)
    assert all("slurm.set_addresses has no address to set" in one.words for one in found)
