"""`lamplighter doctor`: what is wrong with this installation, seen from this host."""

import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import click

from ops.cli.options import json_option
from ops.cli.session import Session, StoreKind, pass_session
from ops.cli.terminal import print_json, print_line, warn
from ops.doctor.checks import findings_of
from ops.doctor.clouds import of_clouds
from ops.doctor.host import has_spool, of_configuration, of_host
from ops.doctor.measured import of_measured
from ops.doctor.parts import of_broker, of_logins, of_migrations, of_store
from ops.doctor.planned import of_planned
from ops.doctor.prolog import boots_of_a_day, of_prolog
from ops.doctor.roles import of_permissions, of_role_logins
from ops.doctor.scrub import Scrubber
from ops.doctor.secrets import known_secrets
from ops.doctor.settings import of_settings
from ops.doctor.slurm import of_names, of_slurm, of_slurm_places, user_of
from ops.doctor.units import of_systemd
from ops.install.slurm_conf import read_slurm_conf
from ops.site import findings
from ops.site.findings import Finding, Severity, away, note, wrong
from ops.site.kinds import Kind
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from schemas.ids import NO_CORRELATION
from schemas.roles import Role
from schemas.snapshot import Snapshot
from workers.broker.roles import AUTHORITIES
from workers.config.settings import Settings
from workers.config.slurm_location import is_installed, slurm_conf
from workers.process.programs import problem_of
from workers.resync.slurm_conf import conf_differences
from workers.slurm.commands import SlurmAwayError, SlurmCommands
from workers.slurm.power_saving import config_from
from workers.slurm.prolog_slots import is_tuned
from workers.slurm.scontrol import Slurm
from workers.slurm.snapshot_worker import read_nodes
from workers.store.access import ACCESS

# In this order, the roles that see most.
_ROLES = (
    *(Role.OPERATOR, Role.READER, Role.CONSOLE, Role.POWER, Role.RESYNC, Role.AUDIT, Role.SLURM),
    *(Role.SNAPSHOT, Role.TOKENS, Role.NOTIFY, Role.RELAY, Role.HOOK, Role.SETUP),
)
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

    Each finding says what is wrong, why it matters and what to change. The output has no secret: it
    can go into a report of a problem. Exit code 1: something is wrong; 3: a part does not answer.

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
            print_line(f"    why it matters: {one.kind.why}")
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
    """All findings of this host and of the parts that it reaches, without any known secret."""
    scrub = Scrubber(known_secrets(session.config, os.environ), own_words=True)
    for one in _all_findings(session):
        remedy = None if one.remedy is None else scrub(one.remedy)
        yield replace(one, words=scrub(one.words), remedy=remedy)


def _all_findings(session: Session) -> Iterator[Finding]:
    try:
        session = of_this_host(session)
        settings = session.settings
    except ConfigError as error:
        yield from findings_of("lamplighter.toml", lambda: of_configuration(session.config))
        remedy = "correct that; lamplighter config says what each setting means"
        yield wrong(Kind.CONFIGURATION, str(error), remedy)
        return
    role = settings.broker.role
    slurm: dict[str, str] = {}
    yield from findings_of("Slurm", lambda: _of_slurmctld(session, settings, slurm))
    hooks = slurm_user(settings, slurm) if runs_hooks(settings, slurm) else None
    yield from findings_of("files and folders", lambda: of_host(settings, hooks))
    yield from findings_of("settings", lambda: of_settings(settings))
    yield from findings_of("rights", lambda: of_planned(session.config, hooks))
    yield from findings_of("units", lambda: of_systemd(settings))
    broker = findings_of("broker", lambda: of_broker(session))
    yield from broker
    if settings.broker.users is None or role in ACCESS:
        kinds: tuple[StoreKind, ...] = ("state", "audit")
        for kind in kinds:
            yield from findings_of(f"the {kind} store", partial(of_migrations, session, kind))
        yield from findings_of("stores", lambda: of_store(session))
        yield from findings_of("audit log", lambda: of_measured(session, settings))
    if any(one.severity is Severity.AWAY or one.kind is Kind.BROKER for one in broker):
        return  # which brings tokens
    yield from findings_of("roles", lambda: of_role_logins(session))
    yield from findings_of("permissions", lambda: of_permissions(session))
    if settings.broker.users is None or AUTHORITIES[role].asks:
        yield from findings_of("logins", lambda: of_logins(session, settings))
    if settings.broker.users is None or AUTHORITIES[role].fetches:
        yield from findings_of("clouds", lambda: of_clouds(session, settings))
    else:
        words = f"the clouds were not looked at: the role {role} gets no token"
        remedy = "run this where the role operator has its password"
        yield note(Kind.CLOUDS_UNKNOWN, words, remedy)


def of_this_host(session: Session) -> Session:
    """The session with the first role whose secret at the broker this user can read here.

    A host of workers has their roles' secrets only.
    """
    users = session.settings.broker.users
    if users is None:
        return session
    for role in _ROLES:
        if os.access(users.secret_file(role), os.R_OK):
            return session if role in {Role.OPERATOR, Role.READER} else session.of_role(role)
    return session


def runs_hooks(settings: Settings, slurm: Mapping[str, str]) -> bool:
    """Whether slurmctld may run the hooks on this host.

    `slurm` is what slurmctld has read; empty if it does not answer.
    """
    if slurm:
        hosts = re.sub(r"\([^)]*\)", "", slurm.get("SlurmctldHost", "")).split(",")
        mine = socket.gethostname().partition(".")[0]
        if mine in (one.partition(".")[0] for one in hosts):
            return True
    return has_spool(settings.hook) or (not slurm and is_installed(settings))


def slurm_user(settings: Settings, slurm: Mapping[str, str]) -> str | None:
    """SlurmUser as slurmctld says or, if it does not answer, slurm.conf; None if that cannot be read."""
    if slurm:
        return user_of(slurm)
    conf = slurm_conf(settings)
    try:
        return None if conf is None else read_slurm_conf(conf).user
    except ConfigError:
        return None


def _of_slurmctld(session: Session, settings: Settings, slurm: dict[str, str]) -> Iterator[Finding]:
    """Findings about slurmctld, whose configuration is put into `slurm`."""
    if not is_installed(settings):
        yield from of_slurm_places(settings)
        return
    try:
        text = SlurmCommands(settings).query("scontrol", "show", "config")
        seen = _seen(settings)
    except (SlurmAwayError, ConfigError, MalformedMessageError) as error:
        yield away(Kind.SLURM, str(error), "start slurmctld")
        return
    slurm |= config_from(text)
    kept = seen.power_saving.excluded if seen.power_saving else ()
    here = runs_hooks(settings, slurm)
    yield from of_slurm(slurm, settings, kept, here=here)
    yield from of_names(slurm, settings) if here else ()
    yield from findings.of_conf(conf_differences(settings, seen))
    yield from of_prolog(slurm, settings, tuned=is_tuned(), boots=boots_of_a_day(session))


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
