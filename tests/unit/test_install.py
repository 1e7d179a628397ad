"""`lamplighter init` finds, asks and writes what a site needs, and changes nothing that exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ops.install import units
from ops.install.cloud_entry import CloudEntry
from ops.install.init import init
from ops.install.plan import site_files
from ops.install.site import Site
from ops.install.slurm_conf import read_slurm_conf
from ops.install.toml import lamplighter_toml
from producers.settings import ConfigError
from schemas.roles import Role
from workers.config.logins import PasswordSource
from workers.config.settings import load
from workers.store.access import ACCESS

if TYPE_CHECKING:
    from click.testing import Result

# On SQLite: `init` is told where to write its lines.

pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")

SLURM_CONF = """\
ClusterName=vespa
SlurmUser=slurm
ResumeTimeout=300   # seconds
Include more.conf
NodeName=login State=UNKNOWN
NodeName=DEFAULT State=CLOUD CPUs=2
NodeName=node[1-3],gpu1 \\
    RealMemory=1000
PartitionName=all Nodes=ALL Default=YES State=UP
"""
CLOUDS = """\
clouds:
  site:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://keystone.example.org:5000/v3
      application_credential_id: abc
      application_credential_secret: very-secret
  other:
    auth: {auth_url: "https://k.example.org/v3", username: me, password: very-secret,
      user_domain_name: Default, project_id: p}
"""


@pytest.fixture
def folder(run_dir: Path) -> Path:
    (run_dir / "slurm.conf").write_text(SLURM_CONF)
    (run_dir / "more.conf").write_text("SuspendTime=900\nSuspendProgram=/usr/local/bin/old\n")
    (run_dir / "clouds.yaml").write_text(CLOUDS)
    (run_dir / "clouds.yaml").chmod(0o600)
    return run_dir


def run(folder: Path, *words: str, text: str = "", dry_run: bool = True) -> Result:
    files = [f"--slurm-conf={folder}/slurm.conf", f"--clouds-yaml={folder}/clouds.yaml"]
    more = ("--dry-run",) if dry_run else ()
    return CliRunner().invoke(init, [*files, *more, *words], input=text)


def site(folder: Path, **server: str) -> Site:
    cloud = {"auth_url": "https://k.example.org/v3", "project_id": 'p"\\'}
    source = {"type": "password", "username": "u", "password_file": '/p"\\\x7f\n'}
    return Site(
        slurm=read_slurm_conf(folder / "slurm.conf"),
        entry=CloudEntry("my-cloud", cloud, source, "s", None, ()),
        broker_url="amqp://127.0.0.1/l",
        nodes="node[1-3]",
        strategy="delete" if server else "stop",
        server=server,
        programs=Path("/opt/lamplighter/bin"),
    )


@pytest.mark.parametrize("server", [{}, {"image": "debian", "flavor": "m1"}])
def test_the_configuration_is_complete_and_loads(folder: Path, server: dict[str, str]) -> None:
    path = folder / "lamplighter.toml"
    path.write_text(lamplighter_toml(site(folder, **server)))
    settings = load(path, {})
    cloud = settings.clouds["my-cloud"]
    assert cloud.project_id == 'p"\\'
    assert isinstance(cloud.source, PasswordSource)
    assert cloud.source.password_file == Path('/p"\\\x7f\n')
    assert set(settings.nodes) == {"node1", "node2", "node3"}
    assert settings.slurm.resume_timeout == 300
    assert bool(settings.groups["nodes"].server) is bool(server)


@pytest.mark.parametrize(
    ("vhost", "prefix"),
    [
        ("lamplighter", "lamplighter-"),
        ("vespa", "lamplighter-vespa-"),
        ("vespa.example.org", "lamplighter-vespa.example.org-"),
        ("a%2Fb~c", "lamplighter-a-2Fb-c-"),
        ("v" * 200, f"lamplighter-{'v' * 40}-"),
    ],
)
def test_a_cluster_has_users_of_its_own_whatever_its_virtual_host_is_called(
    folder: Path, vhost: str, prefix: str
) -> None:
    path = folder / "lamplighter.toml"
    url = f"amqp://127.0.0.1:5672/{vhost}"
    path.write_text(lamplighter_toml(replace(site(folder), broker_url=url)))
    users = load(path, {}).broker.users
    assert users is not None
    assert users.prefix == prefix


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        *(("Vespa.One", "vespa-one"), ("-x_", "x"), ("\u00fc1", "1"), ("(null)", "null")),
        *(("_", "cluster"), ("", "cluster"), ("a" * 100, "a" * 63)),
    ],
)
def test_any_name_of_a_cluster_in_slurm_conf_gives_one_of_ours(
    folder: Path, name: str, ours: str
) -> None:
    (folder / "slurm.conf").write_text(SLURM_CONF.replace("=vespa", f"={name}"))
    output = run(folder, "--yes", "--cloud=site", "--strategy=stop").output
    assert f'cluster = "{ours}"\n' in output


def test_what_is_on_the_host_is_not_asked(folder: Path) -> None:
    """With slurm.conf and one entry in clouds.yaml, a site answers only how its servers are made."""
    result = run(folder, "--cloud=site", text="delete\ndebian-12\nm1.large\n")
    assert result.exit_code == 0, result.output
    assert result.output.count("?") == 3
    assert "very-secret" not in result.output
    start = result.output.index("cluster = ")
    toml = result.output[start : result.output.index("write: /etc/lamplighter/broker")]
    written = tomllib.loads("\n".join(line.strip() for line in toml.splitlines()))
    assert written["groups"]["nodes"]["server"] == {
        "image": "debian-12",
        "flavor": "m1.large",
        "networks": ["auto"],
    }


@pytest.mark.parametrize(
    ("words", "lines", "in_use"),
    [
        ([], "", False),
        (["--prolog"], "", True),
        ([], f"PrologSlurmctld={units.PROGRAMS}/lamplighter-prolog\n", True),
        (["--no-prolog"], f"PrologSlurmctld={units.PROGRAMS}/lamplighter-prolog\n", False),
    ],
)
def test_jobs_wait_in_the_prolog_only_where_the_site_wants_it(
    folder: Path, words: list[str], lines: str, *, in_use: bool
) -> None:
    """Its three places, lamplighter.toml, slurm.conf and slurmctld's unit, agree."""
    (folder / "slurm.conf").write_text(SLURM_CONF + lines)
    result = run(folder, "--cloud=site", "--strategy=stop", *words)
    assert result.exit_code == 0, result.output
    assert ("init --prolog" in result.output) is not in_use
    assert ('prolog = "/run/lamplighter/prolog"' in result.output) is in_use
    assert ("/slurmctld.service.d/lamplighter-prolog.conf" in result.output) is in_use
    assert ("PrologSlurmctld=" in result.output) is (in_use and not lines)


def test_nothing_is_asked_with_yes_and_a_missing_answer_names_its_option(folder: Path) -> None:
    result = run(folder, "--yes", "--cloud=site", "--strategy=stop")
    assert result.exit_code == 0, result.output
    for words, option in (
        (["--strategy=stop"], "--cloud"),
        (["--cloud=site", "--strategy=delete"], "--image"),
        (["--cloud=site", "--strategy=delete", "--image=x"], "--flavor"),
    ):
        assert option in str(run(folder, "--yes", *words).exception)


def test_each_role_has_a_password_that_only_its_user_can_read(folder: Path) -> None:
    """Hooks and what runs beside slurmctld: SlurmUser; the workers: theirs; the rest: root."""
    files = {f.path: f for f in site_files(site(folder), "") if f.path.parent == units.USERS}
    owners = {path.stem: (file.owner[0], file.mode) for path, file in files.items()}
    assert set(owners) == {str(role) for role in Role}
    assert owners["hook"] == owners["snapshot"] == ("slurm", 0o600)
    assert owners["power"] == ("lamplighter", 0o600)
    assert owners["tokens"] == ("lamplighter-tokens", 0o600)
    assert owners["operator"] == owners["setup"] == ("root", 0o600)
    assert owners["reader"] == ("root", 0o640)
    assert len({file.content for file in files.values()}) == len(Role)
    assert all(file.secret for file in files.values())


def test_a_broker_on_another_host_gets_its_users_there(folder: Path) -> None:
    words = ("--yes", "--cloud=site", "--strategy=stop")
    there = run(folder, *words, "--broker=amqps://rabbit.example.org/v").output
    assert "import_definitions /dev/stdin < definitions.json    # on rabbit.example.org" in there
    assert "--apply" not in there
    assert "--apply" in run(folder, *words).output
    refused = run(folder, *words, "--broker=amqp://me:s3cr3t@127.0.0.1/v")
    assert isinstance(refused.exception, ConfigError)
    assert "--broker" in str(refused.exception)
    assert "s3cr3t" not in str(refused.exception) + refused.output


BY_HAND = "rabbitmqctl import_definitions /dev/stdin < definitions.json    # where RabbitMQ runs"


@pytest.mark.parametrize(
    ("failing", "code", "said"),
    [
        ("rabbitmqctl", 0, ("not done (RabbitMQ does not run, or runs", BY_HAND)),
        ("users --apply", 1, ("failed: ", "another cluster's users")),
        ("none", 0, ("run: rabbitmqctl", "users --apply")),
    ],
)
def test_a_broker_that_nobody_may_administer_here_gets_its_users_by_hand(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str, code: int, said: tuple[str, ...]
) -> None:
    """As in a container: init says so, goes on to all that is left to do, and so does each later run.

    A broker that answers and refuses ends it: nothing is imported over another cluster's users.
    """
    ran = []

    def run_step(command: tuple[str, ...]) -> str | None:
        ran.append(" ".join(command))
        return "another cluster's users" if failing in ran[-1] else None

    monkeypatch.setattr("ops.install.init.run", run_step)
    monkeypatch.setattr("ops.install.init.require_reachable", lambda *_: None)
    monkeypatch.setattr("ops.install.init._require_user", lambda _: None)
    for planned in ("PlannedFile", "PlannedLink"):
        monkeypatch.setattr(f"ops.install.place.{planned}.put", lambda _: True)
    words = ("--yes", "--cloud=site", "--strategy=stop")
    for _ in range(2):
        result = run(folder, *words, dry_run=False)
        assert result.exit_code == code
        for one in said:
            assert one in result.output
        assert ("\nNow:" in result.output) is (code == 0)
        assert (BY_HAND in result.output) is (failing == "rabbitmqctl")
        assert ("users --apply" in ran[-1]) is (failing != "rabbitmqctl")


def test_a_dry_run_shows_what_the_broker_gets(folder: Path) -> None:
    """Virtual host, a user for each role, its permissions; no password."""
    words = ("--yes", "--cloud=site", "--strategy=stop", "--broker=amqp://127.0.0.1/vespa")
    output = run(folder, *words).output
    assert "    rabbitmqctl add_vhost vespa\n" in output
    for role in Role:
        name = f"lamplighter-vespa-{role}"
        file = f"/etc/lamplighter/broker/{role}.password"
        assert f"    rabbitmqctl add_user {name} < {file}\n" in output
        assert f"    rabbitmqctl set_permissions -p vespa {name} " in output
    there = run(folder, *words[:3], "--broker=amqps://rabbit.example.org/vespa").output
    assert "add_user" not in there


@pytest.mark.parametrize(
    ("table", "word", "cloud_url"),
    [
        ("broker", "--broker=amqp://rabbit.example.org/v", "https://keystone.example.org/v3"),
        ("store", "--store=postgresql://db.example.org/state", "https://keystone.example.org/v3"),
        ("cloud", "--strategy=stop", "http://keystone.example.org/v3"),
    ],
)
def test_a_connection_without_encryption_is_allowed_by_the_name_of_its_table(
    folder: Path, table: str, word: str, cloud_url: str
) -> None:
    """Without the option nothing is written, and the error names it."""
    clouds = folder / "clouds.yaml"
    clouds.write_text(re.sub(r"auth_url: \S+5000/v3", f"auth_url: {cloud_url}", clouds.read_text()))
    words = ("--yes", "--cloud=site", "--strategy=stop", word)
    others = [f"--insecure={other}" for other in ("broker", "store", "cloud") if other != table]
    refused = run(folder, *words, *others)
    assert isinstance(refused.exception, ConfigError)
    assert "(option --insecure)" in str(refused.exception)
    allowed = run(folder, *words, f"--insecure={table}")
    assert allowed.exit_code == 0, allowed.output
    assert allowed.output.count("insecure = true") == 1


def test_postgresql_gets_a_user_for_each_role_whose_password_only_its_processes_read(
    folder: Path,
) -> None:
    words = ("--yes", "--cloud=site", "--strategy=stop")
    for url, wanted in (
        (
            "postgresql://db/state?sslmode=verify-full",
            "lamplighter_{role}@db/state?sslmode=verify-full&",
        ),
        (
            "postgresql+psycopg://?service=s&sslmode=verify-ca",
            "lamplighter_{role}@?service=s&sslmode=verify-ca&",
        ),
        ("postgresql://lamp_{role}@localhost/x", "lamp_{role}@localhost/x?"),
    ):
        output = run(folder, *words, f"--store={url}").output
        passfile = "passfile=/etc/lamplighter/database/{role}.pgpass"
        assert f'audit_url = "postgresql+psycopg://{wanted}{passfile}"' in output
        assert "write: /etc/lamplighter/database/setup.pgpass (600)" in output
        assert "database roles --apply" in output
    conf = replace(
        site(folder),
        store="postgresql+psycopg://a_{role}@h/d?passfile=/etc/lamplighter/database/{role}.pgpass",
    )
    files = {f.path: f for f in site_files(conf, "") if f.path.parent == units.DATABASE}
    owners = {path.stem: (file.owner[0], file.mode) for path, file in files.items()}
    assert set(owners) == {"setup", *map(str, ACCESS)}
    assert owners["power"] == ("lamplighter", 0o600)
    assert owners["slurm"] == ("slurm", 0o600)
    assert owners["setup"] == owners["reader"] == ("root", 0o600)
    assert len({file.content for file in files.values()}) == len(files)
    for wrong in (
        *("postgresql://me:s3cr3t@h/d", "postgresql://h/d", "postgresql://[/d", "nonsense"),
        # a database for each role; a file that no unit may write
        *("postgresql://127.0.0.1", "postgresql://127.0.0.1/", "sqlite:///state.db"),
    ):
        refused = run(folder, *words, f"--store={wrong}")
        assert isinstance(refused.exception, ConfigError), refused.output
        assert "store" in str(refused.exception)
        assert "s3cr3t" not in str(refused.exception) + refused.output


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--broker=amqp://rabbit.example.org/v",), "broker.url"),
        (("--broker=amqp://127.0.0.1:port/v",), "--broker"),
        (("--nodes=node[1-",), "--nodes"),
        (("--nodes=n[1-2",), "hostlist"),
        (("--clouds-yaml=/nowhere",), "/nowhere"),
        (("--cloud=none",), "none"),
    ],
)
def test_an_answer_that_cannot_work_is_refused_before_anything_is_written(
    folder: Path, words: tuple[str, ...], named: str
) -> None:
    result = run(folder, "--yes", "--cloud=site", "--strategy=stop", *words)
    assert result.exit_code != 0
    assert named in str(result.exception) + result.output
    assert "write: " not in result.output


def test_a_file_that_hooks_would_find_before_that_of_init_is_refused(folder: Path) -> None:
    """Hooks and commands would use another broker, store and spool than the workers."""
    words = ("--yes", "--cloud=site", "--strategy=stop")
    found, ours = folder / "lamplighter.toml", units.CONFIG / "lamplighter.toml"
    found.write_text('cluster = "by-hand"\n')
    refused = run(folder, *words)
    assert isinstance(refused.exception, ConfigError), refused.output
    assert all(str(path) in str(refused.exception) for path in (found, ours))
    assert refused.output == ""
    found.unlink()
    found.symlink_to(ours)
    assert run(folder, *words).exit_code == 0


def test_a_cloud_may_have_any_name(folder: Path) -> None:
    name = 'a "b".c'
    (folder / "clouds.yaml").write_text(CLOUDS.replace("  site:", f"  '{name}':"))
    result = run(folder, "--yes", f"--cloud={name}", "--strategy=stop")
    assert result.exit_code == 0, result.exception
    assert result.output.count(json.dumps(name)) == 3


def test_a_broker_may_have_an_address_of_ipv6(folder: Path) -> None:
    words = ("--yes", "--cloud=site", "--strategy=stop")
    assert "--apply" in run(folder, *words, "--broker=amqp://[::1]:5672/v").output


def test_a_login_by_password_is_taken_over(folder: Path) -> None:
    result = run(folder, "--yes", "--cloud=other", "--strategy=stop")
    assert result.exit_code == 0, result.output
    assert 'username = "me"' in result.output
    assert 'password_file = "/etc/lamplighter/cloud.secret"' in result.output
    assert "very-secret" not in result.output


def test_missing_files_are_named_with_their_option(folder: Path) -> None:
    (folder / "slurm.conf").unlink()
    assert "--slurm-conf" in str(run(folder, "--yes").exception)
    (folder / "slurm.conf").write_text("NodeName=a State=UNKNOWN\n")
    assert "State=CLOUD" in str(run(folder, "--yes").exception)
    (folder / "slurm.conf").write_text(SLURM_CONF)
    (folder / "clouds.yaml").unlink()
    assert "--clouds-yaml" in str(run(folder, "--yes").exception)


@pytest.mark.parametrize("service", units.SERVICES, ids=lambda service: service.name)
def test_each_unit_is_confined(run_dir: Path, service: units.Service) -> None:
    """`systemd-analyze security` rates it below 2.5 of 10."""
    path = run_dir / service.unit
    path.write_text(units.unit(service, Path("/usr/bin/true"), "slurm"))
    analyze = shutil.which("systemd-analyze")
    assert analyze, "install systemd"
    command = [analyze, "security", "--offline=true", "--threshold=25", "--no-pager", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    verified = subprocess.run([analyze, "verify", str(path)], capture_output=True, check=False)
    assert b"Unknown" not in verified.stderr, verified.stderr


def test_users_and_folders_are_known_to_systemd(run_dir: Path) -> None:
    for program, text in (
        ("systemd-sysusers", "u slurm -\n" + units.sysusers("slurm")),
        ("systemd-tmpfiles", units.tmpfiles("root").replace("lamplighter-tokens", "root")),
    ):
        path = run_dir / program
        path.write_text(text)
        root = run_dir / "root"
        (root / "etc").mkdir(parents=True, exist_ok=True)
        found = shutil.which(program)
        assert found, "install systemd"
        extra = ["--create"] if program == "systemd-tmpfiles" else []
        done = subprocess.run(
            [found, f"--root={root}", *extra, str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (run_dir / "root/var/lib/lamplighter").stat().st_mode & 0o7777 == 0o2770


def test_a_secret_that_has_changed_in_clouds_yaml_is_said_and_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.install.init.CLOUD_SECRET", folder / "cloud.secret")
    (folder / "cloud.secret").write_text("very-secret\n")
    words = ("--yes", "--cloud=site", "--strategy=stop")
    assert "tokens login" not in run(folder, *words).output
    (folder / "cloud.secret").write_text("former-secret\n")
    output = run(folder, *words).output
    assert f"{folder}/cloud.secret differs from the secret of site in clouds.yaml" in output
    assert "lamplighter tokens login site" in output
    assert "very-secret" not in output
    assert "former-secret" not in output


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--flavor=m1.large",), "--image"),
        (("--network=slurm",), "--image"),
        (("--vo=vo.example.eu",), "--vo"),
        (("--fedcloud-site=site.yaml", "--vo=v", "--region=r"), "--region"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    folder: Path, words: tuple[str, ...], option: str
) -> None:
    result = run(folder, "--yes", "--cloud=site", "--strategy=stop", *words)
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(f"{option}: ")


def test_a_driver_that_the_database_needs_is_named_before_its_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--yes", "--cloud=site", "--strategy=stop")
    store = "--store=postgresql://127.0.0.1/state"
    assert "pip install" not in run(folder, *words, store).output
    monkeypatch.setattr("ops.install.init.find_spec", lambda _: None)
    output = run(folder, *words, store).output
    assert output.index("pip install '.[postgresql]'") < output.index("database roles --create")
    assert "pip install" not in run(folder, *words).output
