"""`lamplighter init`: sets up Lamplighter on slurmctld's host."""

import re
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ops.cli.options import confirm, yes_option
from ops.install import units
from ops.install.answers import ask_site
from ops.install.place import Found, PlannedFile, run
from ops.install.slurm_conf import OWN_LINES, read_slurm_conf
from ops.install.toml import Site, lamplighter_toml, slurm_lines
from ops.install.units import CONFIG, GROUP, TOKENS_USER

_SYSTEM = Path("/etc/systemd/system")
_VHOST_URL = re.compile(r"amqps?://(?P<user>[^:@/]+)@(?P<host>[^/]+)/(?P<vhost>[^/]+)")


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
@click.option("--broker", "broker_url", default="amqp://lamplighter@127.0.0.1:5672/lamplighter",
              show_default=True, help="RabbitMQ, with user and virtual host.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show everything, change nothing.")
@yes_option
def init(*, slurm_conf: Path, broker_url: str, dry_run: bool, yes: bool, **answers: Any) -> None:  # noqa: ANN401 - click's
    """Set up Lamplighter on the host of slurmctld: configuration, broker, folders, systemd.

    Reads slurm.conf and clouds.yaml, asks for what it cannot find there, and never changes an
    existing file: it shows the difference. It can be run again.
    """
    site, secret = ask_site(read_slurm_conf(slurm_conf), broker_url, answers, ask=not yes)
    included, differences = slurm_lines(site)
    files = list(_files(site, included, secret))
    steps = [*_system_steps(), *_broker_steps(site, files)]
    for file in files:
        _show(file, whole=dry_run)
    for step in steps:
        click.echo(f"run: {' '.join(step.command)}")
    if not dry_run:
        confirm("Write the missing files, and run these commands", yes=yes)
        _apply(files, steps)
    include = slurm_conf.parent / OWN_LINES
    click.echo("\nNow:")
    for difference in differences:
        click.echo(f"  {difference}")
    if OWN_LINES not in slurm_conf.read_text(encoding="utf-8", errors="replace"):
        click.echo(f"  echo 'Include {include}' >> {slurm_conf}")
    click.echo("  systemctl restart slurmctld lamplighter.target")
    click.echo("  lamplighter status")


def _files(site: Site, included: str, secret: str | None) -> Iterator[PlannedFile]:
    """All files, in the order in which they are needed."""
    user, program = site.slurm.user, site.programs / "lamplighter"
    yield PlannedFile(Path("/etc/sysusers.d/lamplighter.conf"), units.sysusers(user))
    yield PlannedFile(Path("/etc/tmpfiles.d/lamplighter.conf"), units.tmpfiles(user))
    yield PlannedFile(CONFIG / "lamplighter.toml", lamplighter_toml(site), 0o640, ("root", GROUP))
    yield PlannedFile(
        CONFIG / "broker.password",
        f"{secrets.token_urlsafe(32)}\n",
        0o640,
        ("root", GROUP),
        secret=True,
    )
    if secret is not None:
        yield PlannedFile(
            CONFIG / "cloud.secret", f"{secret}\n", 0o600, (TOKENS_USER, GROUP), secret=True
        )
    yield PlannedFile(site.slurm.path.parent / OWN_LINES, included)
    for service in units.SERVICES:
        yield PlannedFile(_SYSTEM / service.unit, units.unit(service, program, user))
    yield PlannedFile(_SYSTEM / "lamplighter.target", units.target())
    yield PlannedFile(Path("/etc/logrotate.d/lamplighter"), units.logrotate(user))


def _system_steps() -> Iterator[Step]:
    yield Step(("systemd-sysusers", "/etc/sysusers.d/lamplighter.conf"))
    yield Step(("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/lamplighter.conf"))
    for words in (("daemon-reload",), ("enable", "lamplighter.target")):
        yield Step(("systemctl", *words), may_fail="systemd does not run here")


def _broker_steps(site: Site, files: list[PlannedFile]) -> Iterator[Step]:
    """Virtual host, user and permissions, if the broker is on this host."""
    found = _VHOST_URL.fullmatch(site.broker_url)
    if found is None or found["host"].partition(":")[0] not in {"127.0.0.1", "localhost"}:
        return
    user, vhost = found["user"], found["vhost"].replace("%2F", "/")
    (password,) = (file for file in files if file.path.name == "broker.password")
    text = password.content if password.found() is Found.MISSING else password.path.read_text()
    exists = "it exists"
    yield Step(("rabbitmqctl", "--quiet", "add_vhost", vhost), may_fail=exists)
    yield Step(("rabbitmqctl", "--quiet", "add_user", user), text.strip() + "\n", may_fail=exists)
    yield Step(("rabbitmqctl", "--quiet", "set_permissions", "-p", vhost, user, ".*", ".*", ".*"))


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
