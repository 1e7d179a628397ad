"""Addresses and files that Lamplighter refuses, and what other users see of a process."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct

from ops.audit.chain import trusted_keys
from ops.cli import session
from ops.console.operators import read_operators
from ops.site import broker_users
from producers import amqp, broker_settings
from producers.addresses import address_problem, database_problem
from producers.broker_settings import BrokerSettings, BrokerUsers
from producers.disk import user_name
from producers.privacy import keep_private
from producers.settings import ConfigError, hook_settings, read_toml
from producers.trust import UntrustedFileError, read_trusted, resolved
from schemas.roles import Role
from workers.audit.heads import Head, export_head, read_lines
from workers.audit.signing import load_signer, load_trusted
from workers.clouds import client
from workers.clouds.actions import CREATE
from workers.clouds.errors import BadTemplateError
from workers.clouds.nova_requests import Call
from workers.config import clouds_entry, groups, logins, settings, tables, webhooks
from workers.config.groups import ServerTemplate
from workers.config.settings import load
from workers.config.tables import MetricsSettings
from workers.config.yaml_file import read_yaml
from workers.process.metrics_endpoint import endpoint_address
from workers.tokens.errors import SourceError
from workers.tokens.secret import SecretFile
from workers.tokens.transport import Http
from workers.tokens.vault_key import load_keys

if TYPE_CHECKING:
    from collections.abc import Callable

# On SQLite: the URLs are judged, no store is opened.

NOBODY = 65534
HEAD = 'cluster = "c"\n[broker]\nurl = "amqp://u@127.0.0.1/v"\npassword_file = "p"\n'
CLOUDS_YAML = """\
clouds:
  c:
    auth_type: v3applicationcredential
    auth: {auth_url: "https://k/v3", application_credential_id: a, application_credential_secret: s}
"""


def put(path: Path, text: str, mode: int = 0o600, owner: int = -1) -> Path:
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, -1)
    return path


@pytest.mark.parametrize("scheme", ["amqp", "http", "HTTP"])
@pytest.mark.parametrize("host", ["h", "10.0.0.1", "[2001:db8::1]", "127.0.0.1.example", "0.0.0.1"])
def test_plaintext_to_another_host_needs_insecure_by_name(scheme: str, host: str) -> None:
    url = f"{scheme}://{host}:80/v3"
    problem = address_problem(url, insecure=False, instead="x")
    assert problem is not None
    assert "insecure = true" in problem
    assert address_problem(url, insecure=True, instead="x") is None
    assert address_problem(url.lower().replace("amqp:", "amqps:").replace("http:", "https:"),
                           insecure=False, instead="x") is None  # fmt: skip


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "[::1]"])
def test_plaintext_on_this_host_is_allowed(host: str) -> None:
    assert address_problem(f"http://{host}:1/v3", insecure=False, instead="x") is None


@pytest.mark.parametrize(
    "url",
    [
        "amqps://me:s3cr3t@h/v",
        "http://:s3cr3t@127.0.0.1",
        "https://me:s3cr3t@h:s3cr3t/",
        "https://s3cr3t@h/v3",
        "https://h/v3?token=s3cr3t",
        "https://h/token?a=b&access_%74oken=s3cr3t",
        "https://h/token?client_secret=s3cr3t#x",
        "https://h?api_key=s3cr3t/v3",
        "https://h/?sv=1&sig=s3cr3t",
        "https://s3cr3t\\@127.0.0.1/",
    ],
)
@pytest.mark.parametrize("insecure", [False, True])
def test_a_secret_in_an_address_is_refused_and_not_quoted(url: str, *, insecure: bool) -> None:
    user = url.startswith("amqp")
    problem = address_problem(url, insecure=insecure, instead="a file", user=user)
    assert problem is not None
    assert "s3cr3t" not in problem


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite:///x.db", None),
        ("postgresql+psycopg://u@127.0.0.1/d", None),
        ("postgresql+psycopg:///d?host=/run/postgresql", None),
        ("postgresql+psycopg://u@db/d?sslmode=verify-full", None),
        ("postgresql+psycopg://?service=s&sslmode=verify-ca", None),
        ("postgresql+psycopg://u@db/d", "certificate"),
        ("postgresql+psycopg://u@127.0.0.1/d?host=db", "certificate"),
        ("postgresql+psycopg://u@db/d?sslmode=require", "certificate"),
        ("postgresql+psycopg://u@db/d?sslmode=disable&sslmode=verify-full", "certificate"),
        ("postgresql+psycopg://?service=s", "certificate"),
        ("postgresql+psycopg://127.0.0.1?service=s", "certificate"),  # it may name a hostaddr
        ("postgresql+psycopg://127.0.0.1?service=s&hostaddr=127.0.0.1", None),
        ("postgresql+psycopg://u@127.0.0.1/d?hostaddr=10.0.0.1", "certificate"),
        ("postgresql+psycopg://u@/d?host=/run/postgresql,db", "certificate"),
        ("postgresql+psycopg://u@db/d?sslmode=verify-full&passfile=/etc/x", None),
        (
            "postgresql+psycopg://u@db/d?sslmode=verify-full&sslkey=/k&sslpassword=s3cr3t",
            "password",
        ),
        ("postgresql+psycopg://u@127.0.0.1/d?oauth_client_secret=s3cr3t", "password"),
        ("postgresql+psycopg://u@127.0.0.1/d?scram_client_key=s3cr3t", "password"),
        ("postgresql+psycopg://u:s3cr3t@127.0.0.1/d", "password"),
        ("postgresql+psycopg://u@127.0.0.1/d?password=s3cr3t", "password"),
    ],
)
def test_a_database_elsewhere_is_verified(url: str, problem: str | None) -> None:
    found = database_problem(url, insecure=False, environ={})
    assert (found is None) == (problem is None)
    assert problem is None or (problem in str(found) and "s3cr3t" not in str(found))
    allowed = database_problem(url, insecure=True, environ={})
    assert (allowed is None) == (problem != "password")


@pytest.mark.parametrize(
    ("url", "variables", "verified"),
    [
        ("postgresql+psycopg:///d", "", True),
        ("postgresql+psycopg:///d", "PGHOST=/run/postgresql", True),
        ("postgresql+psycopg:///d", "PGHOST=db", False),
        ("postgresql+psycopg:///d", "PGHOST=/run/postgresql,db", False),
        ("postgresql+psycopg:///d", "PGHOST=db PGSSLMODE=verify-full", True),
        ("postgresql+psycopg:///d?sslmode=require", "PGHOST=db PGSSLMODE=verify-full", False),
        ("postgresql+psycopg:///d", "PGHOSTADDR=10.0.0.1", False),
        ("postgresql+psycopg://127.0.0.1/d", "PGHOST=db", True),
        ("postgresql+psycopg://127.0.0.1/d", "PGHOSTADDR=10.0.0.1", False),
        ("postgresql+psycopg://127.0.0.1/d?hostaddr=::1", "PGHOSTADDR=10.0.0.1", True),
        ("postgresql+psycopg:///d", "PGSERVICE=s", False),
        ("postgresql+psycopg:///d", "PGSERVICE=s PGSSLMODE=verify-full", False),
        ("postgresql+psycopg:///d?sslmode=verify-full", "PGSERVICE=s PGHOST=db", True),
        ("sqlite:///x.db", "PGHOST=db", True),
    ],
)
def test_a_database_that_the_environment_names_is_verified(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: str, *, verified: bool
) -> None:
    """As libpq would connect: what the URL leaves open comes from a service, then from variables."""
    environ = dict(one.split("=") for one in variables.split())
    assert (database_problem(url, insecure=False, environ=environ) is None) == verified
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with nullcontext() if verified else pytest.raises(ValueError, match="certificate"):
        tables.StoreSettings(url=url)


CLOUD = """[clouds.c]
auth_url = "{url}"
project_id = "p"
[clouds.c.source]
type = "oidc_refresh_token"
refresh_token_file = "f"
token_endpoint = "{endpoint}"
"""
HOOK = '[[notify.webhook]]\nname = "a"\nurl = "{url}"\nevents = ["failed"]\n'


@pytest.mark.parametrize(
    ("broker", "more", "field"),
    [
        ("amqp://me@broker.example/c", "", "broker.url"),
        ("amqp://me:s3cr3t@127.0.0.1/c", "", "broker.url"),
        ("amqps://me@h/c", CLOUD.format(url="http://k/v3", endpoint="https://p"), "auth_url"),
        ("amqps://me@h/c", CLOUD.format(url="https://k/v3", endpoint="http://p"), "token_endpoint"),
        ("amqps://me@h/c", HOOK.format(url="http://hooks.example/T/s3cr3t"), "url"),
        ("amqps://me@h/c", '[store]\nurl = "postgresql+psycopg://me:s3cr3t@db/d"\n', "url"),
        ("amqps://me@h/c", "management_url", "broker.management_url"),
        ("amqps://me@h/c?password=s3cr3t", "", "broker.url"),
        (
            "amqps://me@h/c",
            CLOUD.format(url="https://s3cr3t@k/v3", endpoint="https://p"),
            "auth_url",
        ),
        (
            "amqps://me@h/c",
            CLOUD.format(url="https://k?token=s3cr3t/v3", endpoint="https://p"),
            "auth_url",
        ),
        (
            "amqps://me@h/c",
            CLOUD.format(url="https://k/v3", endpoint="https://p?secret=s3cr3t"),
            "token_endpoint",
        ),
        (
            "amqps://me@h/c",
            CLOUD.format(url="https://k/v3", endpoint="https://s3cr3t@p"),
            "token_endpoint",
        ),
        ("amqps://me@h/c", HOOK.format(url="https://s3cr3t@hooks.example/"), "url"),
        ("amqps://me@h/c", HOOK.format(url="https://hooks.example/?token=s3cr3t"), "url"),
        ("amqps://me@h/c", HOOK.format(url="http://s3cr3t.example\\\\@localhost/"), "url"),
        (
            "amqps://me@h/c",
            '[store]\nurl = "postgresql+psycopg://db/d?sslpassword=s3cr3t"\n',
            "url",
        ),
        ("amqps://me@h/c", "s3cr3t@h:15672", "broker.management_url"),
        ("amqps://me@h/c", "h:15672/?token=s3cr3t", "broker.management_url"),
    ],
)
def test_each_setting_with_an_address_is_checked(
    tmp_path: Path, broker: str, more: str, field: str
) -> None:
    """None of them is taken silently, and none shows a secret."""
    line = f'url = "{broker}"\n'
    if field == "broker.management_url":
        place = "me:s3cr3t@h:15672" if more == "management_url" else more
        line, more = f'{line}management_url = "https://{place}"\n', ""
    path = put(tmp_path / "l.toml", f'cluster = "c"\n[broker]\n{line}{more}')
    with pytest.raises(ConfigError, match=field.replace(".", r"\.")) as caught:
        load(path)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "[::]:9464", "10.1.2.3:9464"])
def test_metrics_for_other_hosts_need_insecure_by_name(listen: str) -> None:
    with pytest.raises(ValueError, match="insecure = true"):
        MetricsSettings(listen=listen)
    with pytest.raises(ConfigError, match="insecure = true"):
        endpoint_address(MetricsSettings(), "power", {"LAMPLIGHTER_METRICS": listen})
    assert endpoint_address(MetricsSettings(listen=listen, insecure=True), "power", {})


@pytest.mark.parametrize("mode", [0o666, 0o622, 0o664, 0o777, 0o602])
def test_a_configuration_that_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path / "l.toml", 'cluster = "c"', mode)
    with pytest.raises(ConfigError, match=r"run chmod go-w"):
        read_toml(path)
    path.chmod(0o644)
    assert read_toml(path) == {"cluster": "c"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")
@pytest.mark.parametrize("name", ["clouds.yaml", "secure.yaml"])
def test_root_reads_a_clouds_yaml_that_only_the_token_service_reads(
    tmp_path: Path, name: str
) -> None:
    """As docs/configuration.md wants it; one that others read, too, is nobody's secret."""
    for one in ("clouds.yaml", "secure.yaml"):
        put(tmp_path / one, CLOUDS_YAML, 0o644)
    own = put(tmp_path / name, CLOUDS_YAML, 0o600, NOBODY)
    path = put(tmp_path / "l.toml", f'{HEAD}[clouds.c]\nclouds_yaml = "clouds.yaml"\n')
    assert load(path, {}).clouds["c"].auth_url == "https://k/v3"
    own.chmod(0o604)
    with pytest.raises(ConfigError, match=f"{name} belongs to user {user_name(NOBODY)}"):
        load(path, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_verifies_by_the_public_key_that_the_audit_worker_has_written(tmp_path: Path) -> None:
    """After `lamplighter init` both halves are the worker's; the public half of another user is refused."""
    path = put(tmp_path / "l.toml", f'{HEAD}[audit]\nkey_file = "audit.key"\n')
    signer = load_signer(tmp_path / "audit.key")
    for name in ("audit.key", "audit.key.pub"):
        os.chown(tmp_path / name, NOBODY, -1)
    trusted = trusted_keys(session.Session(path), ())
    assert trusted.problem("t", {"key": signer.key_id}) == "its signature is invalid"
    with pytest.raises(ConfigError, match="belongs to user"):
        trusted_keys(session.Session(path), (tmp_path / "audit.key.pub",))
    os.chown(tmp_path / "audit.key", 0, -1)
    with pytest.raises(ConfigError, match="belongs to user"):
        trusted_keys(session.Session(path), ())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_configuration_of_another_user_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "l.toml", 'cluster = "c"', 0o644, NOBODY)
    with pytest.raises(ConfigError, match=f"belongs to user {user_name(NOBODY)}: run chown"):
        read_toml(path)


@pytest.mark.parametrize("mode", [0o666, 0o644, 0o604, 0o660, 0o620])
def test_a_secret_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    secret = put(tmp_path / "s", "s3cr3t", mode)
    with pytest.raises(UntrustedFileError) as caught:
        read_trusted(secret, private=True)
    assert "s3cr3t" not in str(caught.value)
    for good in (0o600, 0o400, 0o640):
        secret.chmod(good)
        assert read_trusted(secret, private=True) == "s3cr3t"


def of_one_file(path: Path) -> BrokerUsers:
    """The roles' users, whose passwords are all in this file."""
    folder = path.parent / "users"
    folder.mkdir()
    for role in Role:
        (folder / f"{role}.password").symlink_to(path)
    return BrokerUsers(folder)


# How each file that a setting names is read; SECRET ones, root may read whoever owns them.
PLAIN: dict[str, Callable[[Path], object]] = {
    "user_data_file": lambda path: client.user_data_of(
        Call(CREATE, "", "node1", "group"),
        ServerTemplate(image="i", flavor="f", networks=("n",), user_data_file=path),
    ),
    "ca_file": lambda path: Http(path).get("https://127.0.0.1:1/v3"),
    "broker.ca_file": lambda path: amqp._tls(BrokerSettings(("amqps://h/",), ca_file=path)),
    "the audit's public key": lambda path: load_trusted([path]),
    "clouds_yaml": lambda path: read_yaml(path, Struct),
}
SECRET: dict[str, Callable[[Path], object]] = {
    "password_file": lambda path: SecretFile(path).read(),
    "broker.users.folder": lambda path: broker_users._passwords(of_one_file(path)),
    "audit.key_file": load_signer,
    "tokens.key_file": load_keys,
    "console.operators_file": read_operators,
}


@pytest.mark.parametrize("name", SECRET)
def test_a_secret_that_others_can_read_is_never_used(tmp_path: Path, name: str) -> None:
    with pytest.raises((ConfigError, SourceError), match="is open to other users"):
        SECRET[name](put(tmp_path / "file", "text", 0o644))


@pytest.mark.parametrize("name", PLAIN | SECRET)
@pytest.mark.parametrize("what", ["changed by others", "a pipe", "endless"])
def test_a_file_that_others_control_or_that_never_ends_is_refused(
    tmp_path: Path, name: str, what: str
) -> None:
    """A pipe with no writer would hold a worker up for ever; /dev/zero would take all memory."""
    path = tmp_path / "file"
    match what:
        case "changed by others":
            put(path, "text", mode=0o666)
        case "a pipe":
            os.mkfifo(path, 0o600)
        case _:
            path.symlink_to("/dev/zero")
    with pytest.raises((ConfigError, SourceError, BadTemplateError)) as refused:
        (PLAIN | SECRET)[name](path)
    assert refused.match(f"{re.escape(str(path))}|{re.escape(str(path.parent))}/users/")


def test_a_head_begins_below_a_line_that_a_killed_writer_has_left(tmp_path: Path) -> None:
    """Both lines would be unreadable otherwise, and the log would seem altered."""
    path, heads = tmp_path / "heads", [Head(n, "ab", "now", {"seq": n}) for n in (1, 2, 3)]
    export_head(path, heads[0])
    with path.open("a") as file:
        file.write('{"seq": 17')
    for head in heads[1:]:
        export_head(path, head)
    lines = list(read_lines(path))
    assert lines == [heads[0].to_json(), '{"seq": 17', *(head.to_json() for head in heads[1:])]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_a_command_of_root_makes_belongs_to_the_audit_worker(tmp_path: Path) -> None:
    """`audit heads --sign`, before the worker's first start or head: it could not use key and file of root."""
    os.chown(tmp_path, NOBODY, NOBODY)
    load_signer(tmp_path / "audit.key")
    export_head(tmp_path / "audit.heads", Head(1, "", "", {}))
    assert {one.name: (one.owner(), one.group()) for one in tmp_path.iterdir()} == dict.fromkeys(
        ("audit.key", "audit.key.pub", "audit.heads"), (user_name(NOBODY), "nogroup")
    )
    os.chown(tmp_path / "audit.heads", 0, 0)
    export_head(tmp_path / "audit.heads", Head(2, "", "", {}))
    assert (tmp_path / "audit.heads").owner() == "root"  # what is there stays its owner's


def test_a_pipe_that_nobody_reads_holds_up_no_worker_that_writes(tmp_path: Path) -> None:
    path, refused = tmp_path / "heads", []
    os.mkfifo(path, 0o600)

    def write() -> None:
        with pytest.raises(ConfigError, match=r"audit\.heads_file: .*heads") as caught:
            export_head(path, Head(1, "", "", {}))
        refused.append(caught.value)

    writer = Thread(target=write, daemon=True)
    writer.start()
    writer.join(10)
    assert refused


@pytest.mark.parametrize("name", PLAIN | SECRET)
def test_a_file_that_anybody_can_replace_by_another_one_is_refused(
    tmp_path: Path, name: str
) -> None:
    """Where the file is, where a link to it is, and above; a folder with the sticky bit, as /tmp, is no danger."""
    inner, outer = tmp_path / "above" / "inner", tmp_path / "upon" / "between" / "outer"
    inner.mkdir(parents=True)
    outer.mkdir(parents=True)
    put(inner / "file", "text")
    (outer / "file").symlink_to(inner / "file")
    (tmp_path / "way").symlink_to(outer)
    way = tmp_path / "way"
    checked = [(inner, inner), (inner, outer), (outer, outer), (inner.parent, inner)]
    checked += [(inner.parent, outer), (outer.parents[1], outer), (outer.parent, way)]
    for folder, file in checked:
        folder.chmod(0o777)
        with pytest.raises(
            (ConfigError, SourceError, BadTemplateError), match="anybody can change"
        ):
            (PLAIN | SECRET)[name](file / "file")
        folder.chmod(0o1777)
        shutil.rmtree(file / "users", ignore_errors=True)
    assert read_trusted(outer / "file", private=True) == "text"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", PLAIN)
def test_a_file_of_another_user_is_refused(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "file", "text", 0o644, NOBODY)
    with pytest.raises((ConfigError, SourceError, BadTemplateError), match="run chown"):
        PLAIN[name](path)


def test_every_file_that_a_setting_names_is_in_a_table_above() -> None:
    """So that no new one is read without a check."""
    known = {name.rpartition(".")[2] for name in PLAIN | SECRET}
    # secrets of the same kinds, for SecretFile and read_trusted
    known |= {"refresh_token_file", "client_secret_file", "secret_file", "url_file"}
    known |= {"key_file", "cert_file", "folder"}
    # places for what our own programs write, programs, and lamplighter.toml itself
    known |= {"conf", "bin", "prolog", "heads_file", "file", "path"}
    modules = (tables, groups, logins, webhooks, broker_settings, clouds_entry, settings)
    named = {
        field
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__
        for field, hint in getattr(kind, "__annotations__", {}).items()
        if "Path" in str(hint)
    }
    assert named <= known
    assert len(named) > 10


def test_systemd_passes_a_service_the_secrets_of_its_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    put(tmp_path / "power.password", "from systemd")
    users = BrokerUsers(Path("/etc/lamplighter/broker"))
    assert read_trusted(users.secret_file(Role.POWER), private=True) == "from systemd"
    assert users.secret_file(Role.AUDIT) == Path("/etc/lamplighter/broker/audit.password")
    named = Path("$CREDENTIALS_DIRECTORY/power.password")
    assert resolved(named) == tmp_path / "power.password"
    config = put(
        tmp_path / "l.toml",
        'cluster = "c"\n[broker]\nurl = "amqp://u@127.0.0.1/v"\n'
        'password_file = "$CREDENTIALS_DIRECTORY/power.password"\n'
        '[audit]\nkey_file = "$CREDENTIALS_DIRECTORY/a"\n'
        '[tokens]\nkey_file = "$CREDENTIALS_DIRECTORY/t"\n',
    )
    assert "from%20systemd" in hook_settings(config).broker.full_urls()[0]
    settings = load(config)
    assert str(settings.audit.key_file) == "$CREDENTIALS_DIRECTORY/a"
    assert str(settings.tokens.key_file) == "$CREDENTIALS_DIRECTORY/t"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="systemd has passed no credentials"):
        hook_settings(config).broker.full_urls()


@pytest.mark.parametrize(("before", "after"), [(0o022, 0o077), (0o002, 0o077), (0, 0o077),
                                               (0o007, 0o007), (0o027, 0o077), (0o077, 0o077)])  # fmt: skip
def test_new_files_are_private_unless_a_unit_shares_them_with_its_group(
    before: int, after: int
) -> None:
    old, limits = os.umask(before), resource.getrlimit(resource.RLIMIT_CORE)
    try:
        keep_private()
        assert os.umask(0) == after
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    finally:
        os.umask(old)
        resource.setrlimit(resource.RLIMIT_CORE, limits)


def test_no_process_of_its_user_reads_the_memory_of_a_command() -> None:
    """PR_GET_DUMPABLE (3) is 0, and no core is written, once the command line has started."""
    code = (
        "import ctypes, resource, sys\n"
        "from ops.cli import main\n"
        "main.cli = lambda **_: print(ctypes.CDLL(None).prctl(3), "
        "resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0"]


@pytest.mark.parametrize(
    ("uid", "login", "sudo", "name"),
    [
        (NOBODY, None, "alice", user_name(NOBODY)),  # anybody can write that variable
        (NOBODY, 0, "alice", f"root (as {user_name(NOBODY)})"),  # the kernel knows who logged in
        (NOBODY, NOBODY, "alice", user_name(NOBODY)),
        (0, None, "alice", "alice (as root)"),  # root could write the audit itself
        (0, NOBODY, "alice", f"{user_name(NOBODY)} (as root)"),
        (0, 0, None, "root"),
        (0, None, None, "root"),
    ],
)
def test_an_operator_is_who_logged_in(
    monkeypatch: pytest.MonkeyPatch, uid: int, login: int | None, sudo: str | None, name: str
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(session, "_login_user", lambda: None if login is None else user_name(login))
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudo is not None:
        monkeypatch.setenv("SUDO_USER", sudo)
    assert session.operator() == name


@pytest.mark.parametrize("mapped", ["0 1000 1", "0 0 1", "1000 1000 1\n0 100000 65536"])
@pytest.mark.parametrize("uid", [0, NOBODY])
def test_nobody_becomes_another_operator_in_a_user_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: str, uid: int
) -> None:
    """There, with `unshare --user`, anybody is root or any user, with a login that means nothing."""
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setattr(session, "_USER_MAP", put(tmp_path / "uid_map", f"{mapped}\n"))
    for login in (None, "bob"):
        monkeypatch.setattr(session, "_login_user", lambda login=login: login)
        assert session.operator() == f"{user_name(uid)} (in a user namespace)"
