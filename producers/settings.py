"""Finds lamplighter.toml, and reads the part of it that the hooks need.

Hooks, workers and commands search it in one order: $LAMPLIGHTER_CONFIG, then beside slurm.conf, then
in /etc/lamplighter. Slurm gives its programs an almost empty environment, but always SLURM_CONF; the
shell of an operator often lacks it, so the usual folders of slurm.conf follow.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from producers.disk import user_name
from schemas.names import is_cluster_name, shown

FILE_NAME = "lamplighter.toml"
DEFAULT_FOLDER = Path("/etc/lamplighter")
# Where packages and Slurm's own `make install` put slurm.conf (configure --sysconfdir).
SLURM_FOLDERS = ("/etc/slurm", "/etc/slurm-llnl", "/usr/local/etc", "/opt/slurm/etc")
# Everything that may be at the top of the file.
TOP_LEVEL = (
    *("cluster", "dry_run", "broker", "hooks", "slurm", "resync", "store", "audit", "power"),
    *("tokens", "clouds", "groups", "notify", "console", "metrics", "log"),
)
BROKER_FIELDS = ("url", "password_file", "ca_file", "management_url")
HOOK_FIELDS = ("spool", "state", "log_file")

_YEAR = 31_536_000


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, field and remedy."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """How to reach RabbitMQ.

    Attributes:
        url: amqp:// or amqps://, with user and virtual host.
        password_file: the file with the password; None if the URL contains it.
        ca_file: the certificate authority for amqps; None for the system's.
    """

    url: str
    password_file: Path | None = None
    ca_file: Path | None = None

    def full_url(self) -> str:
        """The URL with its password; never log it.

        Raises:
            ConfigError: the password is missing, or its file cannot be read.
        """
        if self.password_file is None:
            parts = urlsplit(self.url)
            if parts.username and parts.password is None:
                raise ConfigError('broker.password_file: is missing: write password_file = "..."')
            return self.url
        try:
            password = self.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"broker.password_file: {error.strerror}: {self.password_file}; write the password "
                f"into it, and make it readable for user {user_name()} alone"
            ) from None
        except UnicodeDecodeError:
            # The error's text would quote the password.
            raise ConfigError(
                f"broker.password_file: {self.password_file} is not UTF-8 text; write the password into it"
            ) from None
        if not password:
            raise ConfigError(
                f"broker.password_file: {self.password_file} is empty; write the password into it"
            )
        parts = urlsplit(self.url)
        place = parts.hostname or "localhost"
        place = f"[{place}]" if ":" in place else place
        place = f"{place}:{parts.port}" if parts.port else place
        user = parts.username or "guest"
        return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()

    @property
    def shown(self) -> str:
        """The URL without user and password, for operators; works for malformed URLs too."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"


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


def find_config(environ: Mapping[str, str]) -> Path:
    """The path of lamplighter.toml for a process with this environment.

    The file may not exist, or not be accessible; then reading it fails with the remedy. A folder
    that this user may not enter is not skipped: the hooks, which may, would read another file.
    """
    if environ.get("LAMPLIGHTER_CONFIG"):
        return Path(environ["LAMPLIGHTER_CONFIG"])
    places = config_places(environ)
    return next(filter(_may_exist, places), DEFAULT_FOLDER / FILE_NAME)


def config_places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where the file is searched if $LAMPLIGHTER_CONFIG does not name it, in this order."""
    for folder in slurm_folders(environ):
        yield folder / FILE_NAME
    yield DEFAULT_FOLDER / FILE_NAME


def other_config(read: Path, environ: Mapping[str, str]) -> Path | None:
    """Another file for the same cluster, which a shell without SLURM_CONF would find; or None."""
    plain = {name: value for name, value in environ.items() if name == "PATH"}
    other = find_config(plain)
    try:
        if other.samefile(read) or hook_settings(other).cluster != hook_settings(read).cluster:
            return None
    except (OSError, ConfigError):
        return None
    return other


def slurm_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """The folders that can hold slurm.conf: that of $SLURM_CONF first."""
    if environ.get("SLURM_CONF"):
        yield Path(environ["SLURM_CONF"]).parent
    yield from map(Path, SLURM_FOLDERS)
    # Slurm in a folder of its own has its configuration in etc, beside bin
    for folder in environ.get("PATH", "").split(os.pathsep):
        scontrol = os.path.join(folder, "scontrol")  # noqa: PTH118 - faster, and hooks call it
        if folder and os.access(scontrol, os.X_OK):
            yield Path(os.path.realpath(scontrol)).parent.parent / "etc"


def _may_exist(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content; ConfigError if the file cannot be read or is not TOML."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise ConfigError(
            f"{path}: {error.strerror} for user {user_name()}; let this user read it and enter its "
            "folders (chgrp, chmod g+r), or run this as another user"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; write one beside slurm.conf (docs/configuration.md) or set "
            "LAMPLIGHTER_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}; fix that line") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or a NUL in the path
        raise ConfigError(
            f"{shown(str(path))}: cannot be read as TOML: it is nested too deeply, or has a number "
            "of thousands of digits"
        ) from None
    return content


def unknown_field(name: str, allowed: Iterable[str]) -> str:
    """What is wrong with a field or table of this name, and what is allowed instead."""
    import difflib  # noqa: PLC0415 - only mistakes need it

    known = list(allowed)
    near = difflib.get_close_matches(name, known, 1)
    hint = f" did you mean {near[0]}?" if near else ""
    return f"is unknown;{hint} allowed here: {', '.join(known)}"


def hook_settings(path: Path) -> HookSettings:
    """The hooks' part of the file at `path`.

    Raises:
        ConfigError: naming the file, the field and the remedy.
    """
    section = _Section(read_toml(path), path, "")
    section.allow(TOP_LEVEL)
    cluster = section.text("cluster")
    if not is_cluster_name(cluster):
        raise section.wrong(
            "cluster", f"{shown(cluster)} is not a cluster name: use letters, digits, - and _"
        )
    broker, hooks, slurm = (section.table(name) for name in ("broker", "hooks", "slurm"))
    broker.allow(BROKER_FIELDS)
    hooks.allow(HOOK_FIELDS)
    broker.optional_text("management_url")
    return HookSettings(
        cluster=cluster,
        broker=_broker(broker),
        spool=hooks.path("spool") or Path("/var/spool/lamplighter"),
        state=hooks.path("state") or Path("/var/lib/lamplighter/clock"),
        log_file=hooks.path("log_file"),
        resume_timeout=slurm.seconds("resume_timeout", 600),
        suspend_timeout=slurm.seconds("suspend_timeout", 60),
    )


def _broker(broker: "_Section") -> BrokerSettings:
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
    return BrokerSettings(url, broker.path("password_file"), broker.path("ca_file"))


def shown_key(name: str) -> str:
    """A key of the file, quoted if TOML needs it, and safe to print."""
    return name if name.isascii() and name.replace("-", "_").isidentifier() else shown(name)


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

    def allow(self, fields: Iterable[str]) -> None:
        """Refuse all other fields."""
        for name in self._raw:
            if name not in fields:
                raise self.wrong(shown_key(name), unknown_field(name, fields))

    def text(self, field: str) -> str:
        value = self._raw.get(field)
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.wrong(field, f'must be a string: write {field} = "..."')
        return value

    def optional_text(self, field: str) -> str | None:
        return self.text(field) if field in self._raw else None

    def path(self, field: str) -> Path | None:
        text = self.optional_text(field)
        return None if text is None else self._file.parent / text

    def seconds(self, field: str, default: int) -> int:
        value = self._raw.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _YEAR:
            raise self.wrong(
                field, f"must be whole seconds, from 1 to {_YEAR}: write {field} = {default}"
            )
        return value
