"""The support bundle has what a report needs, and no secret in any notation."""

from __future__ import annotations

import base64
import os
import re
import shlex
import stat
import subprocess
import tarfile
import time
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.main import cli
from ops.cli.session import Session
from ops.doctor import bundle as bundle_module
from ops.doctor import checks
from ops.doctor.scrub import MASK, Scrubber
from schemas.events import Transition
from schemas.roles import Role
from tests.testbed.auditlog import pour
from tests.testbed.messages import command, event
from workers.config.settings import load
from workers.errors import BrokerError
from workers.process.echoes import PIECE
from workers.store.database import open_store

if TYPE_CHECKING:
    from pathlib import Path

# On SQLite: the configuration is read, no store is opened.

# clouds.yaml is read by openstacksdk
pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")

SECRETS = {
    "broker": "br0ker/Pass word+42",
    "file": "fil3-of-the-broker%&",
    "store": "st0re-pass-w0rd",
    "cloud": "cl0ud/secret==x9y8z7",
    "refresh": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl",
    "webhook": "T0123ABCDwebhookPATHsecret456",
    "signature": "sIgN1'ng-\"k3y $0f\\webhook",
    "yaml": "y4ml-cloud-Passw0rd!",
    "environment": "env1ronment-t0ken-XYZ",
    "key": "0Ff5etB4se64Key/abcdefgh+ijklmnop=",
}
# Known to no file: it can only be told by its looks.
FOREIGN = "gAAAAABmZmFrZXRva2Vub2ZrZXlzdG9uZWZha2V0b2tlbg"
# Secrets that no file of ours holds: oddN must not leave.
HOSTILE = [
    "amqp://me:odd0@host/v is away",
    "amqp://me:p/odd1@x@host/v is away",
    'said {"auth": {"password": "a\\"odd2"}}',
    r"wrapped {\"secret\": \"x odd3 y\"} again",
    "grant_type=refresh_token&refresh_token=odd4&scope=x",
    "form password%3Dodd5%26x",
    "secret_access_key=odd6",
    "passphrase: a long odd7",
    "OS_PWD='x odd8'",
    "Set-Cookie: a=b; session=odd9",
    "Authorization: Digest username=x, response=odd10",
    "X-Subject-Token:odd11",
    "&quot;token&quot;: &quot;odd12&quot;",
    "application_credential_secret = odd13",
    "-----BEGIN PRIVATE KEY-----odd14-----END PRIVATE KEY-----",
    "private_key: |odd15",
    "db postgresql://u@h/d?password=odd16",
    "# url = amqp://me:odd17@old-host/v",
    "headers {'X-Auth-Token': b'odd18'}",
    '{"passwords": ["x", "odd19"]}',
    '{"secret":{"value":"odd20"}}',
    "password: u'odd21'",
    'password => "odd22"',
    "<password>odd23</password>",
    "client_secret: >-\n    x\n    odd24",
    "password = two odd25 words",
    "DB_PASS=odd26",
    "sent with whsec_AAAAAAAAAAAAAAAAAodd27",
    r"export OS_PASSWORD='it'\''s odd28'",
    'OS_PASSWORD="a"odd29',
    r"OS_PASSWORD=a\ odd30",
    'Environment="OS_PASSWORD=two odd31"',
    "openstack --os-password odd32 token issue",
    "openstack --os-password 'two odd33' token issue",
    "form [('client_secret', 'odd34'), ('x', 'y')]",
    '["password","odd35"]',
    "CREATE ROLE x WITH PASSWORD 'odd36';",
    "{'password': SecretStr('odd37')}",
    "X-Auth-Key: odd38",
    "https://h/v1/c/o?temp_url_sig=odd39&temp_url_expires=1",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----odd40-----END PGP PRIVATE KEY BLOCK-----",
    r"{\"key\": \"-----BEGIN RSA PRIVATE KEY-----\nodd41\n-----END RSA PRIVATE KEY-----\"}",
    "{'auth': {'password':u'odd42','user':'x'}}",
    '{"server": {"id": "x", "adminPass": "odd43"}}',
    "body %22password%22%3A%22odd44%22%2C",
    "Vault said hvs.AAAAAAAAAAAAAAAAAAAodd45",
]
TOML = """\
cluster = "c"
[broker]
url = "amqp://127.0.0.1:1/l"
management_url = "http://127.0.0.1:1"
users = {{ folder = "users" }}
[hooks]
spool = "spool"
state = "clock"
log_file = "hooks.log"
[store]
url = "postgresql+psycopg://u@127.0.0.1:1/x"
audit_url = "sqlite:///audit.db"
[tokens]
key_file = "token.key"
[audit]
key_file = "audit.key"
[clouds.c]
auth_url = "https://k.example.org/v3"
project_id = "p"
source = {{ type = "password", username = "u", password_file = "cloud.password" }}
[clouds.d]
auth_url = "https://k.example.org/v3"
project_id = "p"
[clouds.d.source]
type = "oidc_refresh_token"
refresh_token_file = "refresh"
token_endpoint = "https://aai.example.org/token"
[clouds.y]
clouds_yaml = "clouds.yaml"
[groups.g]
nodes = "node[1-4]"
cloud = "c"
[[notify.webhook]]
name = "w"
url = "https://hooks.example.org/services/{webhook}"
events = ["failed"]
secret_file = "signature"
"""
CLOUDS_YAML = """\
clouds:
  y:
    auth: {{auth_url: "https://k.example.org/v3", username: u, password: "{yaml}", project_id: p, user_domain_name: Default}}
"""


def notations(secret: str) -> list[str]:
    raw = secret.encode()
    return [
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(b"user:" + raw).decode(),
        raw.hex(),
        *(shlex.quote(secret), secret.replace("'", r"'\''")),
        '"' + re.sub(r"([$`\"\\])", r"\\\1", secret) + '"',
        subprocess.check_output(["/bin/bash", "-c", 'printf %q "$1"', "_", secret], text=True),
    ]


def pieces(text: str) -> set[str]:
    return {text[at : at + PIECE] for at in range(len(text) - PIECE + 1)}


@pytest.fixture
def config(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site that holds a secret wherever it can, and whose logs repeat all of them."""
    path = run_dir / "lamplighter.toml"
    encoded = {name: quote(value, safe="") for name, value in SECRETS.items()}
    path.write_text(TOML.format(**encoded))
    (run_dir / "clouds.yaml").write_text(CLOUDS_YAML.format(**SECRETS))
    files = {"cloud.password": "cloud", "refresh": "refresh", "signature": "signature"}
    files |= {"token.key": "key", "audit.key": "file", "users/operator.password": "broker"}
    (run_dir / "users").mkdir()
    for name, secret in files.items():
        (run_dir / name).touch(mode=0o600)
        (run_dir / name).write_text(f"{SECRETS[secret]}\n")
    (run_dir / "pgpass").write_text(f"127.0.0.1:1:x:u:{SECRETS['store']}\n")
    monkeypatch.setenv("PGPASSFILE", str(run_dir / "pgpass"))
    monkeypatch.setenv("MY_TOKEN", SECRETS["environment"])
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    lines = [f"a line with {form} in it" for s in SECRETS.values() for form in notations(s)]
    lines += [f"a piece {s[3:-3]}" for s in SECRETS.values()]
    lines += [f"token={FOREIGN}", f"X-Auth-Token: {FOREIGN}", "Bearer abcdefgh12345678"]
    lines += HOSTILE
    lines += ["resume node[1-3]: the spool has 3 calls"]
    (run_dir / "hooks.log").write_text("\n".join(lines))
    return path


def bundle(config: Path, target: Path) -> dict[str, str]:
    result = CliRunner().invoke(cli, ["--config", str(config), "support-bundle", str(target)])
    assert result.exit_code == 0, result.output
    with tarfile.open(target) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive
        }


def test_a_bundle_has_no_secret_in_any_notation(config: Path, run_dir: Path) -> None:
    load(config, {})  # it is a configuration that works
    parts = bundle(config, run_dir / "b.tar.gz")
    whole = "\n".join(parts.values())
    for name, secret in SECRETS.items():
        for form in notations(secret):
            # the first and last characters of base64 depend on what is beside the secret
            assert not {p for p in pieces(form[2:-4]) if p in whole}, (name, form)
    for text in (FOREIGN, FOREIGN[6:], "abcdefgh12345678"):
        assert not {p for p in pieces(text) if p in whole}, text


def test_what_looks_like_a_secret_is_masked_in_any_notation(config: Path, run_dir: Path) -> None:
    """In places, and under names, that nobody has foreseen."""
    logged = bundle(config, run_dir / "b.tar.gz")["hooks.log"]
    for number, line in enumerate(HOSTILE):
        assert f"odd{number}" in line
        assert f"odd{number}" not in logged, (line, logged.splitlines()[-len(HOSTILE) - 1 :])


@pytest.mark.parametrize("before", ["", "Nov 30 10:00:00 host lamplighter[7]: "])
def test_a_key_whose_beginning_was_cut_off_is_masked(before: str) -> None:
    """The last bytes of a log are taken, wherever they begin; the log around a key stays."""
    key = ["-----BEGIN PRIVATE KEY-----", *("Ab1+" * 16,) * 8, "odd=", "-----END PRIVATE KEY-----"]
    whole = "".join(f"{before}{line}\n" for line in [*key, "resumed node1"])
    for cut in range(whole.index("odd")):
        scrubbed = Scrubber([])(whole[cut:])
        assert "Ab1+" not in scrubbed
        assert "odd" not in scrubbed
        assert scrubbed.endswith("resumed node1\n")


@pytest.mark.parametrize(
    "text",
    ["a \n" * 10**6, "://" * 10**5, '"' + "-" * 10**6, "password" + " " * 10**6, "'pass-" * 10**5],
    ids=len,
)
def test_no_log_takes_long(text: str) -> None:
    """Names of jobs and answers of strangers are in it."""
    before = time.process_time()
    Scrubber([])(text)
    assert time.process_time() - before < 10.0


def test_what_hangs_or_fails_is_left_out_and_said(
    config: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No part of the bundle stops the others, and no error's text leaves unseen."""
    monkeypatch.setattr(checks, "_SECONDS", 0.3)
    release = Event()

    def fail(_: object) -> str:
        raise KeyError(SECRETS["cloud"])

    def hang(_: object) -> str:
        release.wait(30.0)
        return ""

    monkeypatch.setitem(bundle_module._PARTS, "audit.txt", fail)
    monkeypatch.setitem(bundle_module._PARTS, "journal.log", hang)
    parts = bundle(config, run_dir / "b.tar.gz")
    release.set()
    assert parts["audit.txt"] == "not available: failed: KeyError; please report it\n"
    assert parts["journal.log"] == "not available: did not end within 0.3 s\n"
    assert "spool has 3 calls" in parts["hooks.log"]


def test_of_a_huge_log_the_end_is_taken(config: Path, run_dir: Path) -> None:
    with (run_dir / "hooks.log").open("ab") as file:
        file.truncate(2**32)
        file.seek(2**32)
        file.write(b"\nthe last line\n")
    target = run_dir / "b.tar.gz"
    assert bundle(config, target)["hooks.log"].endswith("\nthe last line\n")
    assert target.stat().st_size < 2**20


def test_a_bundle_tells_what_a_report_needs(config: Path, run_dir: Path) -> None:
    store = open_store(load(config, {}).store.audit_url, "audit")
    pour(store, [event(Transition.FAILED, command())])
    store.dispose()
    parts = bundle(config, run_dir / "b.tar.gz")
    assert "resume node[1-3]: the spool has 3 calls" in parts["hooks.log"]
    assert 'groups.g.nodes = "node[1-4]"' in parts["configuration.toml"]
    assert "https://aai.example.org/token" in parts["configuration.toml"]
    assert "lamplighter 0." in parts["versions.txt"]
    assert "not available: the broker" in parts["queues.txt"]
    assert "events of the last" in parts["audit.txt"]
    assert '"finding": "broker"' in parts["findings.jsonl"]


def test_a_bundle_has_the_version_of_slurm_where_the_site_keeps_it(
    config: Path, run_dir: Path
) -> None:
    program = run_dir / "own/bin/scontrol"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n[ $1 = --version ] && echo slurm 99.5.1\n")
    program.chmod(0o755)
    config.write_text(f'{config.read_text()}[slurm]\nbin = "own/bin"\n')
    assert "\nslurm 99.5.1\n" in bundle(config, run_dir / "b.tar.gz")["versions.txt"]


def test_on_a_host_of_one_worker_its_role_looks(
    config: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the findings: the operator's password is not there."""
    (run_dir / "users/operator.password").rename(run_dir / "users/power.password")
    roles = []

    def looking(session: Session, *_: object) -> None:
        roles.append(session.settings.broker.role)
        raise BrokerError("away")

    for name in ("channel", "reading"):
        monkeypatch.setattr(Session, name, looking)
    for part in ("queues.txt", "audit.txt"):
        with pytest.raises(BrokerError):
            bundle_module._PARTS[part](Session(config))
    assert roles == [Role.POWER, Role.POWER]


def test_only_its_owner_reads_a_bundle_and_no_file_is_replaced(config: Path, run_dir: Path) -> None:
    target = run_dir / "b.tar.gz"
    bundle(config, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = target.read_bytes()
    again = CliRunner().invoke(cli, ["--config", str(config), "support-bundle", str(target)])
    assert again.exit_code != 0
    assert target.read_bytes() == before


def test_a_bundle_of_a_broken_configuration_says_so_without_its_secrets(
    config: Path, run_dir: Path
) -> None:
    broken = (
        config.read_text()
        .replace("[hooks]", "[hoks]")
        .replace("//127", f"//l:{quote(SECRETS['broker'], safe='')}@127")
    )
    config.write_text(broken + "\n[oops\n")
    parts = bundle(config, run_dir / "b.tar.gz")
    assert "lamplighter.toml" in parts["configuration.toml"]
    whole = "\n".join(parts.values())
    assert not {p for p in pieces(SECRETS["broker"]) if p in whole}


@given(secret=st.text(min_size=8, max_size=40), before=st.text(max_size=30), after=st.text())
def test_a_known_secret_is_masked_wherever_it_is(secret: str, before: str, after: str) -> None:
    known = secret.strip()
    scrubbed = Scrubber([secret])(f"{before}{secret}{after}")
    if len(known) >= PIECE:
        assert known not in scrubbed.replace(MASK, "\0")


def test_a_secret_of_the_environment_need_not_be_text() -> None:
    """Its bytes that are not UTF-8 are surrogates; each notation of them is masked."""
    raw = b"not-utf-8\xff\xfe-secret"
    said = f"{raw.hex()} {quote(raw)} {base64.b64encode(raw).decode()[:-4]}"
    scrubbed = Scrubber([os.fsdecode(raw)])(said)
    assert set(scrubbed.split()) == {MASK}


def test_words_that_are_no_secrets_stay() -> None:
    text = "token_request_refused for node1: tokens.allowed_users lacks lamplighter-power"
    assert Scrubber(["s3cr3t-of-the-site", "no", ""])(text) == text
