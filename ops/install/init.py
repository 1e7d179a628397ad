"""`lamplighter init`: sets up Lamplighter on slurmctld's host."""

import pwd
import re
import secrets
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click

from ops.cli.options import confirm, yes_option
from ops.install import units
from ops.install.answers import ask_site
from ops.install.place import Found, PlannedFile, run
from ops.install.site import Site
from ops.install.slurm_conf import OWN_LINES, SlurmConf, read_slurm_conf
from ops.install.slurm_lines import advice, slurm_lines
from ops.install.toml import lamplighter_toml
from ops.install.units import CONFIG, DATABASE, GROUP, PROGRAMS, TOKENS_USER
from producers.addresses import is_loopback
from producers.config_file import FILE_NAME
from producers.settings import ConfigError
from schemas.roles import Role
from workers.config.settings import load
from workers.store.access import ACCESS

_SYSTEM = Path("/etc/systemd/system")
_URL = re.compile(r"amqps?://(?P<host>[^@:/\[\]]+|\[[0-9a-fA-F:.]+\])(:[0-9]+)?/[^@/]+")


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the set-up, and why it may fail."""

    command: tuple[str, ...]
    may_fail: str = ""


_Plan: TypeAlias = Sequence[PlannedFile | Step]


@click.command
@click.option("--slurm-conf", type=click.Path(path_type=Path), default="/etc/slurm/slurm.conf",
              show_default=True, help="Path of slurm.conf.")  # fmt: skip
@click.option("--clouds-yaml", type=click.Path(path_type=Path),
              help="clouds.yaml with the login. Default: where openstackclient finds it.")  # fmt: skip
@click.option("--cloud", help="Its entry. Default: the only one.")
@click.option("--nodes", help="The nodes. Default: those with State=CLOUD in slurm.conf.")
@click.option("--strategy", type=click.Choice(["stop", "shelve", "delete"]),
              help="What happens to the server of a node that is off.")  # fmt: skip
@click.option("--image", help="Image of the servers, if Lamplighter creates them.")
@click.option("--flavor", help="Flavor of the servers.")
@click.option("--network", "networks", multiple=True, help="Network of the servers; repeatable.")
@click.option("--broker", "broker_url", default="amqp://127.0.0.1:5672/lamplighter",
              show_default=True, help="RabbitMQ, with virtual host; each role gets a user there.")  # fmt: skip
@click.option("--store", metavar="URL",
              help="PostgreSQL, such as 'postgresql://HOST/DATABASE?sslmode=verify-full'; each role gets a user there. Default: SQLite.")  # fmt: skip
@click.option("--insecure", multiple=True, type=click.Choice(["broker", "cloud", "store"]),
              help="Allow connections without encryption to its hosts; repeatable.")  # fmt: skip
@click.option("--worker", "workers", multiple=True, type=click.Choice(units.ANYWHERE),
              help="Set up a host that runs this worker only; repeatable. Copy /etc/lamplighter there.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show everything, change nothing.")
@yes_option
def init(
    *,
    slurm_conf: Path,
    broker_url: str,
    workers: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    **answers: Any,  # noqa: ANN401 - click's
) -> None:
    """Set up Lamplighter on the host of slurmctld: configuration, broker, folders, systemd.

    Reads slurm.conf and clouds.yaml, asks for what it cannot find there, and never changes an
    existing file: it shows the difference. It can be run again.
    """
    if workers:
        _put([*_system_files(workers, None), *_ACCOUNTS, *_UNITS], dry_run=dry_run, ask=not yes)
        click.echo(
            f"\nNow, with {CONFIG} of slurmctld's host:\n  systemctl restart lamplighter.target"
        )
        return
    broker = _URL.fullmatch(broker_url)
    if broker is None:
        raise ConfigError("--broker: write amqp://HOST:5672/VHOST, without a user and a password")
    is_here = is_loopback(broker["host"].strip("[]"))
    slurm = read_slurm_conf(slurm_conf.absolute())
    site, secret = ask_site(slurm, broker_url, answers, ask=not yes)
    included, differences = slurm_lines(site)
    files = list(_files(site, included, secret))
    _check(files)
    if not dry_run:
        _require_user(slurm)
    plan = [
        *_system_files([service.name for service in units.SERVICES], slurm.user),
        *_ACCOUNTS,
        *files,
        *_UNITS,
        *(_broker_steps(files) if is_here else ()),
    ]
    _put(plan, dry_run=dry_run, ask=not yes)
    click.echo("\nNow:")
    for line in (*differences, *advice(site)):
        click.echo(f"  {line}")
    if not slurm.includes_own:
        click.echo(f"  echo 'Include {slurm.path.parent / OWN_LINES}' >> {slurm.path}")
    if not is_here:
        click.echo("  lamplighter broker users --definitions > definitions.json")
        click.echo(f"  rabbitmqctl import_definitions definitions.json    # on {broker['host']}")
    if "{role}" in (site.store or ""):
        click.echo("  lamplighter database roles --create > database.sql")
        click.echo("  psql -f database.sql    # on PostgreSQL's host, as its administrator")
        click.echo("  lamplighter database roles --apply")
    click.echo("  systemctl restart slurmctld lamplighter.target")
    click.echo("  lamplighter status")


def _put(plan: _Plan, *, dry_run: bool, ask: bool) -> None:
    """Show the files and commands; write the missing ones and run the commands unless it is a dry run."""
    for one in plan:
        if isinstance(one, Step):
            click.echo(f"run: {' '.join(one.command)}")
        else:
            _show(one, whole=dry_run)
    if dry_run:
        return
    confirm("Write the missing files, and run these commands", yes=not ask)
    changes = 0
    for one in plan:
        if isinstance(one, Step):
            _run(one)
        else:
            changes += one.put()
    if not changes:
        click.echo("Nothing was missing: no file was written or changed.")


def _check(files: Sequence[PlannedFile]) -> None:
    """Check that a lamplighter.toml which will be written can be read; ConfigError if it cannot."""
    config = _config_of(files)
    if config.found() is not Found.MISSING:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE_NAME
        path.write_text(config.content, encoding="utf-8")
        path.chmod(0o600)
        try:
            load(path, {})
        except ConfigError as error:
            text = str(error).removeprefix(f"{path}: ")
            option = " (option --insecure)" if "insecure = true" in text else ""
            raise ConfigError(f"these answers: {text}{option}") from None


def _require_user(slurm: SlurmConf) -> None:
    try:
        pwd.getpwnam(slurm.user)
    except KeyError:
        raise ConfigError(
            f"{slurm.path}: SlurmUser={slurm.user}: this host has no such user; run init on slurmctld's host"
        ) from None


def _config_of(files: Sequence[PlannedFile]) -> PlannedFile:
    return next(file for file in files if file.path.name == FILE_NAME)


def _files(site: Site, included: str, secret: str | None) -> Iterator[PlannedFile]:
    """All files of slurmctld's host but systemd's."""
    user = site.slurm.user
    yield PlannedFile(CONFIG / FILE_NAME, lamplighter_toml(site), 0o640, ("root", GROUP))
    for role in Role:
        owner = (units.password_owner(role, user), GROUP)
        mode = 0o640 if role is Role.READER else 0o600
        password = f"{secrets.token_urlsafe(32)}\n"
        yield PlannedFile(units.USERS / f"{role}.password", password, mode, owner, secret=True)
        if role in (Role.SETUP, *ACCESS) and str(DATABASE) in (site.store or ""):
            # libpq ignores one that its group may read
            line = f"*:*:*:*:{secrets.token_urlsafe(32)}\n"
            yield PlannedFile(DATABASE / f"{role}.pgpass", line, 0o600, owner, secret=True)
    if secret is not None:
        yield PlannedFile(
            CONFIG / "cloud.secret", f"{secret}\n", 0o600, (TOKENS_USER, GROUP), secret=True
        )
    yield PlannedFile(site.slurm.path.parent / OWN_LINES, included)
    yield PlannedFile(Path("/etc/logrotate.d/lamplighter"), units.logrotate(user))


def _system_files(workers: Collection[str], slurm_user: str | None) -> Iterator[PlannedFile]:
    """What systemd reads, on slurmctld's host or, without SlurmUser, on another."""
    yield PlannedFile(Path("/etc/sysusers.d/lamplighter.conf"), units.sysusers(slurm_user))
    yield PlannedFile(Path("/etc/tmpfiles.d/lamplighter.conf"), units.tmpfiles(slurm_user))
    for service in units.SERVICES:
        if service.name in workers:
            text = units.unit(service, PROGRAMS / "lamplighter", slurm_user)
            yield PlannedFile(_SYSTEM / service.unit, text)
    target = units.target(units.DEFAULT if slurm_user else workers)
    yield PlannedFile(_SYSTEM / "lamplighter.target", target)


_ACCOUNTS = (
    Step(("systemd-sysusers", "/etc/sysusers.d/lamplighter.conf")),
    Step(("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/lamplighter.conf")),
)
_UNITS = tuple(
    Step(("systemctl", *words), may_fail="systemd does not run here")
    for words in (("daemon-reload",), ("enable", "lamplighter.target"))
)


def _broker_steps(files: Sequence[PlannedFile]) -> Iterator[Step]:
    """Virtual host, topology, users and permissions, unless one user serves all roles here."""
    config = _config_of(files)
    if config.found() is Found.DIFFERENT and "broker.users" not in config.path.read_text():
        return
    program = str(PROGRAMS / "lamplighter")
    yield Step((program, "--config", str(config.path), "broker", "users", "--apply"))


def _show(file: PlannedFile, *, whole: bool) -> None:
    found = file.found()
    if found is Found.DIFFERENT:
        click.echo(f"differs, and stays as it is: {file.path}")
        for line in (*file.diff(), *filter(None, [file.rights()])):
            click.echo(f"    {line}")
    elif found is Found.RIGHTS:
        click.echo(f"correct: {file.path} ({file.rights()})")
    else:
        click.echo(f"{'write' if found is Found.MISSING else 'there'}: {file.path} ({file.mode:o})")
        if whole and found is Found.MISSING and not file.secret:
            click.echo("".join(f"    {line}\n" for line in file.content.splitlines()))


def _run(step: Step) -> None:
    problem = run(step.command)
    if problem and not step.may_fail:
        click.echo(f"failed: {' '.join(step.command)}: {problem}", err=True)
        sys.exit(1)
    if problem:
        click.echo(f"not done ({step.may_fail}?): {' '.join(step.command)}: {problem}")
