"""`lamplighter init`: sets up Lamplighter on slurmctld's host."""

import os
import pwd
import re
import socket
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import click

from ops.cli.options import confirm
from ops.install import units
from ops.install.answers import ask_site
from ops.install.cloud_entry import CloudEntry
from ops.install.place import (
    Found,
    PlannedFile,
    PlannedLink,
    require_plain,
    require_reachable,
    run,
)
from ops.install.plan import (
    ACCOUNTS,
    BROKER,
    UNITS,
    Step,
    broker_commands,
    broker_steps,
    config_of,
    links,
    site_files,
    system_files,
)
from ops.install.slurm_conf import OWN_LINES, SlurmConf, read_slurm_conf
from ops.install.slurm_lines import advice, slurm_lines
from ops.install.units import CLOUD_SECRET, CONFIG, PROGRAMS
from producers.addresses import is_loopback
from producers.config_file import FILE_NAME, find_config
from producers.disk import read_file
from producers.settings import ConfigError
from workers.config.settings import load

_URL = re.compile(r"amqps?://(?P<host>[^@:/\[\]]+|\[[0-9a-fA-F:.]+\])(:[0-9]+)?/[^@/]+")

# RabbitMQ's plugin listens there by default.
_MANAGEMENT_PORT, _SECONDS = 15672, 3.0

_Plan: TypeAlias = Sequence[PlannedFile | PlannedLink | Step]


@click.command
@click.option("--slurm-conf", type=click.Path(path_type=Path), default="/etc/slurm/slurm.conf",
              show_default=True, help="Path of slurm.conf.")  # fmt: skip
@click.option("--clouds-yaml", type=click.Path(path_type=Path),
              help="clouds.yaml with the login. Default: where openstackclient finds it.")  # fmt: skip
@click.option("--cloud", help="Its entry. Default: the only one.")
@click.option("--region", help="Its region, if it has several.")
@click.option("--fedcloud-site", type=click.Path(path_type=Path),
              help="Instead of clouds.yaml: fedcloud's file of a site of EGI (docs/egi.md).")  # fmt: skip
@click.option("--vo", help="Its virtual organisation.")
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
@click.option("--prolog/--no-prolog", default=None,
              help="Let jobs start as soon as their nodes are there (docs/prolog.md). With Slurm 22.05, salloc on nodes that are up then takes 3 s longer. Default: as slurm.conf has it.")  # fmt: skip
@click.option("--insecure", multiple=True, type=click.Choice(["broker", "cloud", "store"]),
              help="Allow connections without encryption to its hosts; repeatable.")  # fmt: skip
@click.option("--worker", "workers", multiple=True, type=click.Choice(units.ANYWHERE),
              help="Set up a host that runs this worker only; repeatable. Copy /etc/lamplighter there.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show everything, change nothing.")
@click.option("--yes", is_flag=True, help="Ask nothing; what cannot be found comes from options.")
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
            [*system_files(workers, None), *links(), *ACCOUNTS, *UNITS],
            dry_run=dry_run,
            ask=not yes,
        )
        click.echo(
            f"\nNow, with {CONFIG} of slurmctld's host:\n  systemctl restart lamplighter.target"
        )
        return
    broker = _URL.fullmatch(broker_url)
    if broker is None:
        raise ConfigError("--broker: write amqp://HOST:5672/VHOST, without a user and a password")
    is_here = is_loopback(broker["host"].strip("[]"))
    slurm = read_slurm_conf(slurm_conf.absolute())
    require_plain(slurm.path, "name it by a link without that")
    _require_found(slurm)
    management_url = _management_url(broker["host"]) if is_here else None
    answers["dry_run"] = dry_run
    site = ask_site(slurm, broker_url, answers, ask=not yes, management_url=management_url)
    included, differences = slurm_lines(site)
    files = list(site_files(site, included))
    does = _broker_commands(config_of(files))
    if not dry_run:
        _require_user(slurm)
    plan = [
        *system_files([service.name for service in units.SERVICES], slurm.user),
        *links(),
        *ACCOUNTS,
        *files,
        *UNITS,
        *(broker_steps(files, does) if is_here else ()),
    ]
    left = _put(plan, dry_run=dry_run, ask=not yes)
    click.echo("\nNow:")
    for line in (*differences, *advice(site), *_not_taken(site.entry), *_kept_secret(site.entry)):
        click.echo(f"  {line}")
    if not slurm.includes_own:
        # echo alone would continue a last line that has no end
        end = "" if read_file(slurm.path).endswith(b"\n") else f"echo >> {slurm.path}; "
        click.echo(f"  {end}echo 'Include {OWN_LINES}' >> {slurm.path}")
    if not is_here or BROKER in left:
        where = "where RabbitMQ runs" if is_here else f"on {broker['host']}"
        click.echo("  lamplighter broker users --definitions > definitions.json")
        # Debian's program changes the folder and the user: it could not find or open the file
        click.echo(f"  rabbitmqctl import_definitions /dev/stdin < definitions.json    # {where}")
    if (site.store or "").startswith("postgresql") and find_spec("psycopg") is None:
        click.echo(
            f"  {PROGRAMS}/pip install '.[postgresql]'    # in the folder of Lamplighter's source"
        )
    if "{role}" in (site.store or ""):
        click.echo("  lamplighter database roles --create > database.sql")
        click.echo("  psql -f database.sql    # on PostgreSQL's host, as its administrator")
        click.echo("  lamplighter database roles --apply")
    click.echo("  systemctl restart slurmctld lamplighter.target")
    click.echo("  lamplighter status")


def _management_url(host: str) -> str | None:
    """Of RabbitMQ's management API on this host, if its plugin is enabled."""
    try:
        socket.create_connection((host.strip("[]"), _MANAGEMENT_PORT), _SECONDS).close()
    except OSError:
        return None
    return f"http://{host}:{_MANAGEMENT_PORT}"


def _not_taken(entry: CloudEntry) -> Iterator[str]:
    if entry.ignored:
        keys = ", ".join(entry.ignored)
        yield f"check whether you need these keys of {entry.name} in clouds.yaml, which Lamplighter ignores: {keys}"


def _kept_secret(entry: CloudEntry) -> Iterator[str]:
    """What to do if the secret in place is another than the one in clouds.yaml: it is never shown, nor replaced."""
    with suppress(OSError, UnicodeDecodeError):
        held = read_file(CLOUD_SECRET).decode()
        if entry.secret is not None and held.strip() != entry.secret.strip():
            yield (
                f"{CLOUD_SECRET} differs from the secret of {entry.name} in clouds.yaml, and stays as it is: replace it "
                f"by lamplighter tokens login {entry.name}; if it is another cloud's, name a file of its own"
            )


def _put(plan: _Plan, *, dry_run: bool, ask: bool) -> Collection[Step]:
    """Show the files and commands; write the missing ones and run the commands unless it is a dry run.

    Returns:
        the commands that were not run to their end.
    """
    for one in plan:
        if isinstance(one, Step):
            click.echo(f"run: {' '.join(one.command)}")
            click.echo("".join(f"    {line}\n" for line in one.does if dry_run), nl=False)
        else:
            _show(one, whole=dry_run)
    left: list[Step] = []
    if dry_run:
        return left
    require_reachable(PROGRAMS / "lamplighter", Path(sys.executable), Path(__file__))
    confirm("Write the missing files, and run these commands", yes=not ask)
    os.umask(0o022)  # of the folders above them: files have modes of their own
    changes = 0
    for one in plan:
        if not isinstance(one, Step):
            changes += one.put()
        elif one.after in left or not _run(one):
            left.append(one)
    if not changes:
        click.echo("Nothing was missing: no file was written or changed.")
    return left


def _broker_commands(config: PlannedFile) -> Sequence[str]:
    """What the broker gets by the lamplighter.toml that is there, or will be written.

    Raises:
        ConfigError: the one that will be written cannot be read.
    """
    is_new = config.found() is Found.MISSING
    with tempfile.TemporaryDirectory() as folder:
        # of root, whoever may change it now
        path = Path(folder) / FILE_NAME
        path.write_bytes(config.content.encode() if is_new else read_file(config.path))
        path.chmod(0o600)
        try:
            settings = load(path, {})
        except ConfigError as error:
            if not is_new:  # the programs that read it will say so
                return ()
            text = str(error).removeprefix(f"{path}: ")
            option = " (option --insecure)" if "insecure = true" in text else ""
            raise ConfigError(f"these answers: {text}{option}") from None
        lines = broker_commands(settings.broker, settings.notify_keys)
        return [line.replace(folder, str(config.path.parent)) for line in lines]


def _require_found(slurm: SlurmConf) -> None:
    """Check that hooks and commands find no lamplighter.toml before the one that systemd's units name."""
    ours = CONFIG / FILE_NAME
    found = find_config({"PATH": os.environ.get("PATH", ""), "SLURM_CONF": str(slurm.path)})
    if os.path.realpath(found) != os.path.realpath(ours):
        raise ConfigError(
            f"{found}: hooks and commands would read this file, and systemd's workers {ours}: move it there, or away"
        )


def _require_user(slurm: SlurmConf) -> None:
    try:
        pwd.getpwnam(slurm.user)
    except KeyError:
        raise ConfigError(
            f"{slurm.path}: SlurmUser={slurm.user}: this host has no such user; run init on slurmctld's host"
        ) from None


def _show(file: PlannedFile | PlannedLink, *, whole: bool) -> None:
    found = file.found()
    if found is Found.DIFFERENT:
        click.echo(f"differs, and stays as it is: {file.path}")
        for line in file.differences():
            click.echo(f"    {line}")
    elif found is Found.RIGHTS:
        click.echo(f"correct: {file.path} ({file.shown})")
    else:
        click.echo(f"{'write' if found is Found.MISSING else 'there'}: {file.path} ({file.shown})")
        if whole and found is Found.MISSING:
            click.echo("".join(f"    {line}\n" for line in file.shown_content()), nl=False)


def _run(step: Step) -> bool:
    """Whether it succeeds; ends the process if it fails and may not."""
    problem = run(step.command)
    if problem and not step.may_fail:
        click.echo(f"failed: {' '.join(step.command)}: {problem}", err=True)
        sys.exit(1)
    if problem:
        click.echo(f"not done ({step.may_fail}?): {' '.join(step.command)}: {problem}")
    return not problem
