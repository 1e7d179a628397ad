"""Where lamplighter.toml is found, and the part of it that the hooks read.

Found at $LAMPLIGHTER_CONFIG, else beside $SLURM_CONF, else in /etc/lamplighter. Slurm gives its
programs an almost empty environment, but always SLURM_CONF.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from schemas.names import is_cluster_name, shown

FILE_NAME = "lamplighter.toml"
DEFAULT_FOLDER = Path("/etc/lamplighter")


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, field and remedy."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """How to reach RabbitMQ.

    Attributes:
        url: amqp:// or amqps://, with user and virtual host.
        password_file: holds the user's password; without one it must stand in the URL.
        ca_file: the authority to trust for amqps, or None for the system's.
    """

    url: str
    password_file: Path | None = None
    ca_file: Path | None = None

    def full_url(self) -> str:
        """The URL with its password; never log it.

        Raises:
            ConfigError: the password file cannot be read.
        """
        if self.password_file is None:
            return self.url
        try:
            password = self.password_file.read_text().strip()
        except OSError as error:
            raise ConfigError(
                f"broker.password_file: {error}; make it readable for this user alone"
            ) from None
        parts = urlsplit(self.url)
        place = parts.hostname or "localhost"
        place = f"[{place}]" if ":" in place else place
        place = f"{place}:{parts.port}" if parts.port else place
        user = parts.username or "guest"
        return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()

    @property
    def shown(self) -> str:
        """The URL without its password, for people."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@dataclass(frozen=True, slots=True)
class HookSettings:
    """What a hook needs to know.

    Attributes:
        cluster: the cluster's name.
        broker: how to reach RabbitMQ.
        spool: the folder of requests not yet confirmed by the broker, on this host's disk.
        state: the folder of the generation clock, shared by both controllers of a pair.
        log_file: where errors go, beside syslog; None for syslog alone.
        resume_timeout, suspend_timeout: Slurm's, in seconds; a request expires after them.
    """

    cluster: str
    broker: BrokerSettings
    spool: Path
    state: Path
    log_file: Path | None
    resume_timeout: int
    suspend_timeout: int


def find_config(environ: Mapping[str, str]) -> Path:
    """The path of lamplighter.toml for a process with this environment."""
    if environ.get("LAMPLIGHTER_CONFIG"):
        return Path(environ["LAMPLIGHTER_CONFIG"])
    if environ.get("SLURM_CONF"):
        beside = Path(environ["SLURM_CONF"]).parent / FILE_NAME
        if beside.exists():
            return beside
    return DEFAULT_FOLDER / FILE_NAME


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content.

    Raises:
        ConfigError: it cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; write one (docs/configuration.md) or set LAMPLIGHTER_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no valid TOML: {error}") from None


def hook_settings(path: Path) -> HookSettings:
    """The hooks' part of the file at `path`.

    Raises:
        ConfigError: naming the file, the field and the remedy.
    """
    section = _Section(read_toml(path), path, "")
    cluster = section.text("cluster")
    if not is_cluster_name(cluster):
        raise section.wrong("cluster", f"{shown(cluster)} is no name (letters, digits, - and _)")
    broker, hooks, slurm = (section.table(name) for name in ("broker", "hooks", "slurm"))
    return HookSettings(
        cluster=cluster,
        broker=BrokerSettings(
            url=_amqp_url(broker),
            password_file=broker.path("password_file"),
            ca_file=broker.path("ca_file"),
        ),
        spool=hooks.path("spool") or Path("/var/spool/lamplighter"),
        state=hooks.path("state") or Path("/var/lib/lamplighter/clock"),
        log_file=hooks.path("log_file"),
        resume_timeout=slurm.seconds("resume_timeout", 600),
        suspend_timeout=slurm.seconds("suspend_timeout", 60),
    )


def _amqp_url(broker: "_Section") -> str:
    url = broker.text("url")
    parts = urlsplit(url)
    if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
        raise broker.wrong("url", "must look like amqp://user@host:5672/vhost")
    return url


class _Section:
    """One table of the file; relative paths in it start at the file's own folder."""

    def __init__(self, raw: Mapping[str, Any], path: Path, name: str) -> None:
        self._raw, self._file, self._name = raw, path, name

    def wrong(self, field: str, problem: str) -> ConfigError:
        return ConfigError(f"{self._file}: {self._name}{field}: {problem}")

    def table(self, name: str) -> "_Section":
        value = self._raw.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, f"must be a table: write [{name}]")
        return _Section(value, self._file, f"{name}.")

    def text(self, field: str) -> str:
        value = self._raw.get(field)
        if not isinstance(value, str) or not value:
            raise self.wrong(field, f'must be a text: write {field} = "..."')
        return value

    def path(self, field: str) -> Path | None:
        return self._file.parent / self.text(field) if field in self._raw else None

    def seconds(self, field: str, default: int) -> int:
        value = self._raw.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.wrong(field, f"must be whole seconds above 0: write {field} = {default}")
        return value
