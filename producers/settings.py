"""Finds lamplighter.toml, and reads the part of it that the hooks need.

The file is $LAMPLIGHTER_CONFIG, else the one beside $SLURM_CONF, else in /etc/lamplighter. Slurm
gives its programs an almost empty environment, but always SLURM_CONF.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from schemas.names import is_cluster_name, shown
from schemas.roles import Role

FILE_NAME = "lamplighter.toml"
DEFAULT_FOLDER = Path("/etc/lamplighter")

_YEAR = 31_536_000


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, field and remedy."""


_ROLES = {str(role): role for role in Role}
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
_FIELDS = ("folder", "prefix", "login")
_LOGINS = ("password", "certificate")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,64}")


@dataclass(frozen=True, slots=True)
class BrokerUsers:
    """A broker user for each role.

    Attributes:
        folder: of each role's ROLE.password, or ROLE.crt and ROLE.key.
        prefix: of the users' names, before the role.
        certificates: whether the roles log in with certificates (EXTERNAL) instead of passwords.
    """

    folder: Path
    prefix: str = "lamplighter-"
    certificates: bool = False

    def name(self, role: Role) -> str:
        """The role's broker user."""
        return f"{self.prefix}{role}"

    def role(self, name: str | None) -> Role | None:
        """The role of a broker user; None if it has none."""
        if name is None or not name.startswith(self.prefix):
            return None
        return _ROLES.get(name[len(self.prefix) :])

    def secret_file(self, role: Role) -> Path:
        """The file that the role logs in with: its password, or its certificate's key."""
        return self.folder / f"{role}.{'key' if self.certificates else 'password'}"


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """How to reach RabbitMQ.

    Attributes:
        url: amqp:// or amqps://, with the virtual host, and with the user if it is one for all roles.
        password_file: the file with this user's password; None if the URL contains it.
        ca_file: the certificate authority for amqps; None for the system's.
        users: the roles' users; None if one user serves all roles.
        role: of this process.
    """

    url: str
    password_file: Path | None = None
    ca_file: Path | None = None
    users: BrokerUsers | None = None
    role: Role = Role.HOOK

    @property
    def user(self) -> str:
        """The broker user of this process."""
        if self.users is not None:
            return self.users.name(self.role)
        return unquote(urlsplit(self.url).username or "guest")

    def full_url(self) -> str:
        """The URL with its password; never log it.

        Raises:
            ConfigError: the password is missing, or its file cannot be read; or one user is to serve
                all roles at a broker on another host.
        """
        parts, file, field = urlsplit(self.url), self.password_file, "broker.password_file"
        if self.users is not None:
            if self.users.certificates:
                return self.url
            file, field = self.users.secret_file(self.role), "broker.users.folder"
        elif not _LOOPBACK.fullmatch(parts.hostname or ""):
            raise ConfigError(
                f"broker.url: {parts.hostname} is another host; one user for all roles is allowed on"
                " loopback only; write [broker.users] and run: lamplighter broker users"
            )
        if file is None:
            if parts.username and parts.password is None:
                raise ConfigError('broker.password_file: is missing: write password_file = "..."')
            return self.url
        login = f"{quote(self.user, safe='')}:{quote(_password(file, field), safe='')}"
        return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()

    @property
    def shown(self) -> str:
        """The URL without user and password, for operators; works for malformed URLs too."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True)
class HookSettings:
    """A hook's settings.

    Attributes:
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
    def own_spool(self) -> Path:
        """The folder of this role's calls: what a role has asked, no other role may send."""
        role = self.broker.role
        if self.broker.users is None or role in {Role.HOOK, Role.RELAY}:
            return self.spool
        return self.spool / role


def find_config(environ: Mapping[str, str]) -> Path:
    """The path of lamplighter.toml for a process with this environment."""
    if environ.get("LAMPLIGHTER_CONFIG"):
        return Path(environ["LAMPLIGHTER_CONFIG"])
    if environ.get("SLURM_CONF"):
        beside = Path(environ["SLURM_CONF"]).parent / FILE_NAME
        if os.path.exists(beside):  # noqa: PTH110 - Path.exists raises if access is denied
            return beside
    return DEFAULT_FOLDER / FILE_NAME


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content; ConfigError if the file cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; write one (docs/configuration.md) or set LAMPLIGHTER_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}; fix that line") from None


def hook_settings(path: Path, role: Role = Role.HOOK) -> HookSettings:
    """The hooks' part of the file at `path`, for a process of this role.

    Raises:
        ConfigError: naming the file, the field and the remedy.
    """
    section = _Section(read_toml(path), path, "")
    cluster = section.text("cluster")
    if not is_cluster_name(cluster):
        raise section.wrong(
            "cluster", f"{shown(cluster)} is not a cluster name: use letters, digits, - and _"
        )
    broker, hooks, slurm = (section.table(name) for name in ("broker", "hooks", "slurm"))
    return HookSettings(
        cluster=cluster,
        broker=_broker(broker, role),
        spool=hooks.path("spool") or Path("/var/spool/lamplighter"),
        state=hooks.path("state") or Path("/var/lib/lamplighter/clock"),
        log_file=hooks.path("log_file"),
        resume_timeout=slurm.seconds("resume_timeout", 600),
        suspend_timeout=slurm.seconds("suspend_timeout", 60),
    )


def _password(file: Path, field: str) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{field}: {error}; make it readable for this user alone") from None
    except UnicodeDecodeError:
        # The error's text would quote the password.
        raise ConfigError(
            f"{field}: {file} is not UTF-8 text; write the password into it"
        ) from None
    if not password:
        raise ConfigError(f"{field}: {file} is empty; write the password into it")
    return password


def _broker(broker: "_Section", role: Role) -> BrokerSettings:
    url = broker.text("url")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"amqp", "amqps"} and parts.hostname and parts.port != 0
    except ValueError:
        # The error's text can quote a part of the password, read as a port.
        usable = False
    if not usable:
        raise broker.wrong(
            "url",
            "must look like amqp://user@host:5672/vhost, special characters written as %2F and so on",
        )
    users = _users(broker, parts.username is not None or "password_file" in broker)
    return BrokerSettings(url, broker.path("password_file"), broker.path("ca_file"), users, role)


def _users(broker: "_Section", has_user: bool) -> BrokerUsers | None:  # noqa: FBT001 - a predicate
    if "users" not in broker:
        return None
    users = broker.table("users")
    if has_user:
        raise broker.wrong(
            "users", "each role has its own user: remove the user from url, and password_file"
        )
    if unknown := users.unknown(_FIELDS):
        raise users.wrong(unknown, f"is unknown; write {', '.join(_FIELDS)}")
    login = users.text("login", "password")
    if login not in _LOGINS:
        raise users.wrong("login", f"must be one of: {', '.join(_LOGINS)}")
    prefix = users.text("prefix", "lamplighter-")
    if not _PREFIX.fullmatch(prefix):
        raise users.wrong("prefix", "may hold letters, digits, dots, - and _ only")
    folder = users.path("folder") or users.beside("broker")
    return BrokerUsers(folder, prefix, login == "certificate")


class _Section:
    """One table of the file; relative paths start at the file's folder."""

    def __init__(self, raw: Mapping[str, Any], path: Path, name: str) -> None:
        self._raw, self._file, self._name = raw, path, name

    def wrong(self, field: str, problem: str) -> ConfigError:
        return ConfigError(f"{self._file}: {self._name}{field}: {problem}")

    def table(self, name: str) -> "_Section":
        value = self._raw.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, f"must be a table: write [{name}]")
        return _Section(value, self._file, f"{name}.")

    def __contains__(self, field: str) -> bool:
        return field in self._raw

    def unknown(self, known: tuple[str, ...]) -> str | None:
        return next((field for field in self._raw if field not in known), None)

    def text(self, field: str, default: str | None = None) -> str:
        value = self._raw.get(field, default)
        if not isinstance(value, str) or not value:
            raise self.wrong(field, f'must be a string: write {field} = "..."')
        return value

    def path(self, field: str) -> Path | None:
        return self.beside(self.text(field)) if field in self._raw else None

    def beside(self, name: str) -> Path:
        return self._file.parent / name

    def seconds(self, field: str, default: int) -> int:
        value = self._raw.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _YEAR:
            raise self.wrong(
                field, f"must be whole seconds, from 1 to {_YEAR}: write {field} = {default}"
            )
        return value
