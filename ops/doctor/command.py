"""`lamplighter doctor`: what is wrong with this installation, seen from this host."""

import shlex
import sys
import time
from collections.abc import Iterator, Sequence

import click

from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import print_json, print_line, warn
from ops.doctor.clouds import of_clouds
from ops.doctor.host import of_configuration, of_host
from ops.doctor.measured import of_measured
from ops.doctor.parts import of_broker, of_logins, of_store
from ops.doctor.prolog import boots_of_a_day, of_prolog
from ops.doctor.slurm import config_from, of_slurm
from ops.doctor.units import of_systemd
from ops.site import findings
from ops.site.findings import Finding, Severity
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from schemas.ids import NO_CORRELATION
from schemas.snapshot import Snapshot
from workers.config.settings import Settings
from workers.config.slurm_location import is_installed
from workers.process.programs import problem_of
from workers.resync.slurm_conf import conf_differences
from workers.slurm.commands import SlurmAwayError, SlurmCommands
from workers.slurm.prolog_slots import is_tuned
from workers.slurm.scontrol import Slurm
from workers.slurm.snapshot_worker import read_nodes

# lamplighter topology apply is the slowest fix.
_SECONDS = 60.0


@click.command
@json_option()
@click.option(
    "--fix",
    is_flag=True,
    help="Create missing folders, exchanges, queues and bindings; take rights from others.",
)
@pass_session
def doctor(session: Session, *, as_json: bool, fix: bool) -> None:
    """Check this host's part of the installation, and the parts that it reaches.

    Each finding says what is wrong and what to change. The output has no secret: it can go into a
    report of a problem. Exit code 1: something is wrong; 3: a part does not answer.

    With --fix, what can do no harm is done, and the findings are those that remain.
    """
    if fix:
        tried: set[tuple[str, ...]] = {()}  # one command may end several findings
        for one in all_findings(session):  # what a command has fixed lets the next check begin
            if one.fix not in tried:
                tried.add(one.fix)
                warn(fixed(session, one.fix))
    found = findings.ordered(list(all_findings(session)))
    if as_json:
        print_json({"findings": [one.as_json() for one in found]})
    else:
        for one in found:
            print_line(f"{one.severity.name.lower()}: {one.words}")
            if one.remedy:
                print_line(f"    {one.remedy}")
        print_line(findings.summary(found))
    raise SystemExit(findings.exit_code(found))


def fixed(session: Session, command: Sequence[str]) -> str:
    """Run the command; return what was done, or why not."""
    words = shlex.join(command)
    if command[0] == "lamplighter":
        ours = (sys.executable, "-m", "ops.cli.main", "--config", str(session.config))
        command = (*ours, *command[1:])
    problem = problem_of(command, _SECONDS)
    return f"NOT fixed: {words}: {problem}" if problem else f"fixed: {words}"


def all_findings(session: Session) -> Iterator[Finding]:
    """All findings of this host and of the parts that it reaches."""
    try:
        settings = session.settings
    except ConfigError as error:
        yield from of_configuration(session.config)
        yield Finding(Severity.WRONG, "configuration", str(error))
        return
    slurm_user = "slurm"
    if is_installed(settings):
        try:
            text = SlurmCommands(settings).query("scontrol", "show", "config")
            differences = conf_differences(settings, _seen(settings))
        except (SlurmAwayError, ConfigError, MalformedMessageError) as error:
            yield Finding(Severity.AWAY, "slurm", str(error), "start slurmctld")
        else:
            config = config_from(text)
            slurm_user = config.get("SlurmUser", slurm_user).partition("(")[0]
            yield from of_slurm(config, settings)
            yield from findings.of_conf(differences)
            yield from of_prolog(config, settings, tuned=is_tuned(), boots=boots_of_a_day(session))
    yield from of_host(settings, slurm_user)
    yield from of_systemd()
    broker = list(of_broker(session))
    yield from broker
    yield from of_store(session)
    yield from of_measured(session, settings)
    if all(one.key != "broker" for one in broker):  # which brings tokens
        yield from of_logins(session, settings)
        yield from of_clouds(session, settings)


def _seen(settings: Settings) -> Snapshot:
    """What slurmctld shows now; it is not published. Raises as Slurm's methods do."""
    slurm = Slurm(settings)
    return Snapshot(
        generation=time.time_ns(),
        correlation_id=NO_CORRELATION,
        cluster=settings.cluster,
        origin="doctor",
        nodes=tuple(read_nodes(slurm)),
        power_saving=slurm.power_saving(),
    )
