"""`lamplighter init`: sets up Lamplighter on slurmctld's host."""

import re
import secrets
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ops.cli.options import confirm, yes_option
from ops.install import units
from ops.install.answers import PROGRAMS, ask_site
from ops.install.place import Found, PlannedFile, run
from ops.install.slurm_conf import OWN_LINES, read_slurm_conf
from ops.install.toml import Site, lamplighter_toml, slurm_lines
from ops.install.units import CONFIG, GROUP, TOKENS_USER
from producers.config_file import FILE_NAME
from producers.settings import ConfigError
from schemas.roles import Role

_SYSTEM = Path("/etc/systemd/system")
_URL = re.compile(r"amqps?://(?P<host>[^@:/]+)(:[0-9]+)?/[^@/]+")


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the set-up, its input (a secret), and what to do if it fails."""

    command: tuple[str, ...]
    text: str = ""
    may_fail: str = ""


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
              help="PostgreSQL, such as 'postgresql+psycopg://?service=state&sslmode=verify-full'. Default: SQLite.")  # fmt: skip
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
        _put(
            list(_system_files(workers, None)), list(_system_steps()), dry_run=dry_run, ask=not yes
        )
        click.echo(
            f"\nNow, with {CONFIG} of slurmctld's host:\n  systemctl restart lamplighter.target"
        )
        return
    broker = _URL.fullmatch(broker_url)
    if broker is None:
        raise ConfigError("--broker: write amqp://HOST:5672/VHOST, without a user and a password")
    is_here = broker["host"] in {"127.0.0.1", "localhost"}
    site, secret = ask_site(read_slurm_conf(slurm_conf), broker_url, answers, ask=not yes)
    included, differences = slurm_lines(site)
    files = list(_files(site, included, secret))
    steps = [*_system_steps(), *(_broker_steps(files) if is_here else ())]
    _put(files, steps, dry_run=dry_run, ask=not yes)
    include = slurm_conf.parent / OWN_LINES
    click.echo("\nNow:")
    for difference in differences:
        click.echo(f"  {difference}")
    if OWN_LINES not in slurm_conf.read_text(encoding="utf-8", errors="replace"):
        click.echo(f"  echo 'Include {include}' >> {slurm_conf}")
    if not is_here:
        click.echo("  lamplighter broker users --definitions > definitions.json")
        click.echo(f"  rabbitmqctl import_definitions definitions.json    # on {broker['host']}")
    click.echo("  systemctl restart slurmctld lamplighter.target")
    click.echo("  lamplighter status")


def _put(files: list[PlannedFile], steps: list[Step], *, dry_run: bool, ask: bool) -> None:
    """Show the files and commands; write the missing ones and run the commands unless it is a dry run."""
    for file in files:
        _show(file, whole=dry_run)
    for step in steps:
        click.echo(f"run: {' '.join(step.command)}")
    if dry_run:
        return
    confirm("Write the missing files, and run these commands", yes=not ask)
    _apply(files, steps)


def _files(site: Site, included: str, secret: str | None) -> Iterator[PlannedFile]:
    """All files of slurmctld's host."""
    user = site.slurm.user
    yield from _system_files([service.name for service in units.SERVICES], user)
    yield PlannedFile(CONFIG / FILE_NAME, lamplighter_toml(site), 0o640, ("root", GROUP))
    for role in Role:
        owner = (units.password_owner(role, user), GROUP)
        mode = 0o640 if role is Role.READER else 0o600
        password = f"{secrets.token_urlsafe(32)}\n"
        yield PlannedFile(units.USERS / f"{role}.password", password, mode, owner, secret=True)
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


def _system_steps() -> Iterator[Step]:
    yield Step(("systemd-sysusers", "/etc/sysusers.d/lamplighter.conf"))
    yield Step(("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/lamplighter.conf"))
    for words in (("daemon-reload",), ("enable", "lamplighter.target")):
        yield Step(("systemctl", *words), may_fail="systemd does not run here")


def _broker_steps(files: list[PlannedFile]) -> Iterator[Step]:
    """Virtual host, topology, users and permissions, unless one user serves all roles here."""
    (config,) = (file for file in files if file.path.name == FILE_NAME)
    if config.found() is Found.DIFFERENT and "broker.users" not in config.path.read_text():
        return
    program = str(PROGRAMS / "lamplighter")
    yield Step((program, "--config", str(config.path), "broker", "users", "--apply"))


def _show(file: PlannedFile, *, whole: bool) -> None:
    found = file.found()
    if found is Found.DIFFERENT:
        click.echo(f"differs, and stays as it is: {file.path}")
        for line in file.diff():
            click.echo(f"    {line}")
    else:
        click.echo(f"{'write' if found is Found.MISSING else 'there'}: {file.path} ({file.mode:o})")
        if whole and found is Found.MISSING and not file.secret:
            click.echo("".join(f"    {line}\n" for line in file.content.splitlines()))


def _apply(files: list[PlannedFile], steps: list[Step]) -> None:
    """Write the files, between the users and folders that they need and the commands that need them."""
    system = [file for file in files if file.path.parts[2].endswith(".d")]
    for file in system:
        if file.found() is Found.MISSING:
            file.write()
    for step in steps[:2]:
        _run(step)
    for file in files:
        if file.found() is Found.MISSING:
            file.write()
    for step in steps[2:]:
        _run(step)


def _run(step: Step) -> None:
    problem = run(step.command, step.text)
    if problem and not step.may_fail:
        click.echo(f"failed: {' '.join(step.command)}: {problem}", err=True)
        sys.exit(1)
    if problem:
        click.echo(f"not done ({step.may_fail}?): {' '.join(step.command)}: {problem}")
