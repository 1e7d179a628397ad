"""`lamplighter doctor`: what is wrong with this installation, seen from this host."""

import time
from collections.abc import Iterator

import click

from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import print_json, print_line
from ops.doctor.host import of_host
from ops.doctor.parts import of_broker, of_logins, of_store
from ops.doctor.slurm import config_from, of_slurm
from ops.site import findings
from ops.site.findings import Finding, Severity
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from schemas.ids import NO_CORRELATION
from schemas.snapshot import Snapshot
from workers.config.settings import Settings
from workers.config.slurm_location import is_installed
from workers.resync.slurm_conf import conf_differences
from workers.slurm.commands import SlurmAwayError, SlurmCommands
from workers.slurm.scontrol import Slurm
from workers.slurm.snapshot_worker import read_nodes


@click.command
@json_option()
@pass_session
def doctor(session: Session, *, as_json: bool) -> None:
    """Check this host's part of the installation, and the parts that it reaches.

    Each finding says what is wrong and what to change. The output has no secret: it can go into a
    report of a problem. Exit code 1: something is wrong; 3: a part does not answer.
    """
    found = findings.ordered(list(_all(session)))
    if as_json:
        print_json({"findings": [one.as_json() for one in found]})
    else:
        for one in found:
            print_line(f"{one.severity.name.lower()}: {one.words}")
            if one.remedy:
                print_line(f"    {one.remedy}")
        print_line(findings.summary(found))
    raise SystemExit(findings.exit_code(found))


def _all(session: Session) -> Iterator[Finding]:
    try:
        settings = session.settings
    except ConfigError as error:
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
    yield from of_host(settings, slurm_user)
    yield from of_broker(session)
    yield from of_store(session)
    yield from of_logins(session, settings)


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
