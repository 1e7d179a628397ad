"""What `init` puts in place on a host: files, links, and the commands that follow them."""

import os
import secrets
import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.install import units
from ops.install.place import Found, PlannedFile, PlannedLink
from ops.install.site import Site
from ops.install.slurm_conf import OWN_LINES
from ops.install.toml import lamplighter_toml
from ops.install.units import (
    CLOUD_CA,
    CLOUD_SECRET,
    CONFIG,
    DATABASE,
    GROUP,
    PROGRAMS,
    STATE,
    TOKENS_USER,
)
from producers.broker_settings import BrokerSettings
from producers.config_file import FILE_NAME
from producers.settings import ConfigError
from schemas.roles import Role
from workers.broker.definitions import commands
from workers.broker.topology import topology
from workers.store.access import ACCESS
from workers.tokens.vault_key import new_key

SYSTEM = Path("/etc/systemd/system")
_LOCAL = Path("/usr/local")
# Of an installation elsewhere: where shells and man look by default.
LINKS = (
    "bin/lamplighter",
    "share/man/man1/lamplighter.1",
    *(
        f"share/man/man8/lamplighter-{name}.8"
        for name in ("resume", "suspend", "resume-fail", "prolog")
    ),
    "share/bash-completion/completions/lamplighter",
    "share/zsh/site-functions/_lamplighter",
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the set-up.

    Attributes:
        command: the program and its arguments.
        may_fail: why it may fail, and the set-up goes on.
        after: the step without which this one is left out.
        does: what it does, line by line.
    """

    command: tuple[str, ...]
    may_fail: str = ""
    after: "Step | None" = None
    does: tuple[str, ...] = ()


ACCOUNTS = (
    Step(("systemd-sysusers", "/etc/sysusers.d/lamplighter.conf")),
    Step(("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/lamplighter.conf")),
)
UNITS = tuple(
    Step(("systemctl", *words), may_fail="systemd does not run here")
    for words in (("daemon-reload",), ("enable", "lamplighter.target"))
)

# Fails where nobody on this host may administer the broker; one that is just starting is waited for.
BROKER = Step(
    ("rabbitmqctl", "--quiet", "await_startup", "--timeout", "60"),
    may_fail="RabbitMQ does not run, or runs elsewhere, such as in a container",
)


def config_of(files: Sequence[PlannedFile]) -> PlannedFile:
    """The planned lamplighter.toml."""
    return next(file for file in files if file.path.name == FILE_NAME)


def site_files(site: Site, included: str) -> Iterator[PlannedFile]:
    """All files of slurmctld's host but systemd's.

    `included` are the lines for slurm.conf.
    """
    user = site.slurm.user
    yield PlannedFile(CONFIG / FILE_NAME, lamplighter_toml(site), 0o640, ("root", GROUP))
    for role in Role:
        owner = (units.password_owner(role, user), GROUP)
        mode = units.password_mode(role)
        password = f"{secrets.token_urlsafe(32)}\n"
        yield PlannedFile(units.USERS / f"{role}.password", password, mode, owner, secret=True)
        if role in (Role.SETUP, *ACCESS) and str(DATABASE) in (site.store or ""):
            # libpq ignores one that its group may read
            line = f"*:*:*:*:{secrets.token_urlsafe(32)}\n"
            yield PlannedFile(DATABASE / f"{role}.pgpass", line, 0o600, owner, secret=True)
    secret = f"{site.entry.secret or ''}\n"  # empty only if the file is there
    yield PlannedFile(CLOUD_SECRET, secret, 0o600, (TOKENS_USER, GROUP), secret=True)
    if site.entry.source.get("type") == "oidc_refresh_token":
        # the same for all token services: hosts of workers get a copy
        key = new_key().decode()
        owner = (TOKENS_USER, GROUP)
        yield PlannedFile(STATE / "token.key", key, 0o600, owner, secret=True)
    if site.entry.certificate is not None:
        yield PlannedFile(CLOUD_CA, site.entry.certificate)
    yield PlannedFile(site.slurm.path.parent / OWN_LINES, included)
    yield PlannedFile(Path("/etc/logrotate.d/lamplighter"), units.logrotate(user))
    if site.prolog:
        yield PlannedFile(SYSTEM / units.PROLOG_DROP_IN, units.prolog_drop_in(PROGRAMS))


def system_files(workers: Collection[str], slurm_user: str | None) -> Iterator[PlannedFile]:
    """What systemd reads, on slurmctld's host or, without SlurmUser, on another."""
    yield PlannedFile(Path("/etc/sysusers.d/lamplighter.conf"), units.sysusers(slurm_user))
    yield PlannedFile(Path("/etc/tmpfiles.d/lamplighter.conf"), units.tmpfiles(slurm_user))
    for service in units.SERVICES:
        if service.name in workers:
            text = units.unit(service, PROGRAMS / "lamplighter", slurm_user)
            yield PlannedFile(SYSTEM / service.unit, text)
    target = units.target(units.DEFAULT if slurm_user else workers)
    yield PlannedFile(SYSTEM / "lamplighter.target", target)


def links(prefix: Path = PROGRAMS.parent, local: Path = _LOCAL) -> Iterator[PlannedLink]:
    """Links to an installation whose folder is not searched by shells: program, page, completion."""
    if prefix in {local, Path("/usr")}:
        return
    for name in LINKS:
        if os.path.lexists(prefix / name):
            yield PlannedLink(local / name, prefix / name)


def broker_steps(files: Sequence[PlannedFile], does: Sequence[str] = ()) -> Iterator[Step]:
    """Virtual host, topology, users and permissions, unless one user serves all roles here.

    `does` are the broker's commands that amount to it.

    Raises:
        ConfigError: the lamplighter.toml that is there is not TOML.
    """
    config = config_of(files)
    if config.found() is Found.DIFFERENT and not _has_users(config.path):
        return
    yield BROKER
    program = str(PROGRAMS / "lamplighter")
    command = (program, "--config", str(config.path), "broker", "users", "--apply")
    yield Step(command, after=BROKER, does=tuple(does))


def broker_commands(broker: BrokerSettings, keys: Collection[str]) -> Iterator[str]:
    """What the broker gets; `keys` are those that the webhooks want."""
    if broker.users is not None:
        yield from commands(broker.users, broker.vhost, topology(notify_keys=keys))


def _has_users(config: Path) -> bool:
    """Whether a lamplighter.toml gives each role a user; who may change it does not matter yet."""
    try:
        broker = tomllib.loads(config.read_text(encoding="utf-8")).get("broker")
    except (ValueError, RecursionError):
        raise ConfigError(f"{config}: is not valid TOML; correct it, or move it away") from None
    return isinstance(broker, dict) and "users" in broker
