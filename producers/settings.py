"""Reads lamplighter.toml, and the part of it that the hooks need."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from producers.addresses import address_problem, parameters_problem
from producers.broker_settings import BrokerSettings, BrokerUsers
from producers.broker_settings import ConfigError as ConfigError  # noqa: PLC0414 - others import it here
from producers.disk import user_name
from producers.toml_table import TomlTable
from producers.trust import UntrustedFileError, read_trusted
from schemas.fields import is_cluster_name, shown
from schemas.roles import Role

# Everything that may be at the top of the file.
TOP_LEVEL = (
    *("cluster", "dry_run", "broker", "hooks", "slurm", "resync", "store", "audit", "power"),
    *("tokens", "clouds", "groups", "notify", "console", "metrics", "log"),
)
BROKER_FIELDS = (
    *("url", "urls", "password_file", "ca_file", "cert_file", "key_file"),
    *("management_url", "management_urls", "insecure", "users"),
)
USERS_FIELDS = ("folder", "prefix", "login")
HOOK_FIELDS = ("spool", "state", "log_file")
SPOOL, CLOCK = Path("/var/spool/lamplighter"), Path("/var/lib/lamplighter/clock")
USERS_FOLDER = "broker"

# The reader's time grows with the square of a key's parts: our deepest has five.
_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){40}""")
_CERTIFICATE = ("cert_file", "key_file")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,64}")


@dataclass(frozen=True, slots=True)
class HookSettings:
    """A hook's settings.

    Attributes:
        cluster: the Slurm cluster's name.
        broker: how to reach RabbitMQ.
        spool: the folder of calls not yet confirmed by the broker, on this host's disk.
        state: the folder of the generation clock, shared by both controllers of a pair.
        log_file: where errors go in addition to syslog; None for syslog only.
        resume_timeout, suspend_timeout: Slurm's timeouts in seconds; a request expires after them.
    """

    cluster: str
    broker: BrokerSettings
    spool: Path
    state: Path
    log_file: Path | None
    resume_timeout: int
    suspend_timeout: int

    @property
    def shares_spool(self) -> bool:
        """Whether this role's calls are those of the hooks, for the broker and in the spool."""
        return self.broker.users is None or self.broker.role in {Role.HOOK, Role.RELAY}

    @property
    def own_spool(self) -> Path:
        """The folder of this role's calls: what a role has asked, no other role may send."""
        return self.spool if self.shares_spool else self.spool / self.broker.role


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content; ConfigError if the file cannot be read or is not TOML."""
    try:
        text = read_trusted(path).removeprefix("\ufeff")  # a mark that some editors write
        if _DEEP_KEY.search(text):
            raise ConfigError(f"{path}: is not valid TOML: a key has too many parts; shorten it")
        content = tomllib.loads(text)
    except UntrustedFileError as error:
        raise ConfigError(str(error)) from None
    except PermissionError as error:
        raise ConfigError(
            f"{path}: {error.strerror} for user {user_name()}; let this user read it and enter its "
            "folders (chgrp, chmod g+r), or run this as another user"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; run lamplighter init, or write one (docs/configuration.md) or set "
            "LAMPLIGHTER_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}; fix that line") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or a NUL in the path
        raise ConfigError(
            f"{str(path)!r}: cannot be read as TOML: it is nested too deeply, or has a number "
            "of thousands of digits"
        ) from None
    return content


def hook_settings(path: Path, role: Role = Role.HOOK) -> HookSettings:
    """The hooks' part of the file at `path`, for a process of this role.

    Raises:
        ConfigError: naming the file, the field and the remedy.
    """
    section = TomlTable(read_toml(path), path, "")
    section.allow(TOP_LEVEL)
    cluster = section.text("cluster")
    if not is_cluster_name(cluster):
        raise section.wrong(
            "cluster", f"{shown(cluster)} is not a cluster name: use letters, digits, - and _"
        )
    broker, hooks, slurm = (section.table(name) for name in ("broker", "hooks", "slurm"))
    broker.allow(BROKER_FIELDS)
    hooks.allow(HOOK_FIELDS)
    return HookSettings(
        cluster=cluster,
        broker=_broker(broker, role),
        spool=hooks.path("spool") or SPOOL,
        state=hooks.path("state") or CLOCK,
        log_file=hooks.path("log_file"),
        resume_timeout=slurm.seconds("resume_timeout", 600),
        suspend_timeout=slurm.seconds("suspend_timeout", 60),
    )


def _broker(broker: TomlTable, role: Role) -> BrokerSettings:
    field, urls = broker.one_or_more("url")
    if not all(map(_is_usable, urls)):
        raise broker.wrong(
            field,
            "must look like amqp://user@host:5672/vhost, special characters written as %2F and so on",
        )
    parts = [urlsplit(url) for url in urls]
    if len({(part.scheme, part.username, part.path) for part in parts}) > 1:
        raise broker.wrong(
            field, "name the nodes of one cluster: write the same scheme, user and vhost in each"
        )
    paths = {name: broker.path(name) for name in ("password_file", "ca_file", *_CERTIFICATE)}
    if (paths["cert_file"] is None) != (paths["key_file"] is None):
        missing = next(name for name in _CERTIFICATE if paths[name] is None)
        raise broker.wrong(missing, "is missing: cert_file and key_file belong together")
    users = _users(broker) if "users" in broker else None
    if users is not None and (parts[0].username is not None or paths["password_file"] is not None):
        raise broker.wrong(
            "users", f"each role has its own user: remove the user from {field}, and password_file"
        )
    if users is not None and users.certificates:
        if paths["cert_file"] is not None:
            raise broker.wrong(
                "cert_file", "each role has its own certificate: remove it, and key_file"
            )
        if parts[0].scheme != "amqps":
            raise broker.wrong(field, "must begin with amqps:// for a login with a certificate")
    insecure = broker.flag("insecure")
    instead = "write it into a file, and password_file, or [broker.users]"
    for url in urls:
        problem = parameters_problem(url) or address_problem(
            url, insecure=insecure, instead=instead, user=True
        )
        if problem is not None:
            raise broker.wrong(field, problem)
    return BrokerSettings(urls, **paths, users=users, role=role, insecure=insecure)


def _users(broker: TomlTable) -> BrokerUsers:
    users = broker.table("users")
    users.allow(USERS_FIELDS)
    login = users.text("login", "password")
    if login not in {"password", "certificate"}:
        raise users.wrong("login", "must be password or certificate")
    prefix = users.text("prefix", "lamplighter-")
    if not _PREFIX.fullmatch(prefix):
        raise users.wrong("prefix", "may hold letters, digits, dots, - and _ only")
    folder = users.beside(users.text("folder", USERS_FOLDER))
    return BrokerUsers(folder, prefix, login == "certificate")


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # The error's text can quote a part of the password, read as a port.
        return False
