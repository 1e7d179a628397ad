"""Finds lamplighter.toml, and reads the part of it that the hooks need.

The file is $LAMPLIGHTER_CONFIG, else the one beside $SLURM_CONF, else in /etc/lamplighter. Slurm
gives its programs an almost empty environment, but always SLURM_CONF.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from schemas.fields import is_cluster_name, shown

FILE_NAME = "lamplighter.toml"
DEFAULT_FOLDER = Path("/etc/lamplighter")

_YEAR = 31_536_000
_CERTIFICATE = ("cert_file", "key_file")


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, field and remedy."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """How to reach RabbitMQ.

    Attributes:
        urls: one for each node of the cluster: amqp:// or amqps://, with user and virtual host, which
            are the same in all.
        password_file: the file with the password; None if the URLs contain it.
        ca_file: the certificate authority for amqps; None for the system's.
        cert_file, key_file: our own certificate and its key, PEM, for a broker that wants one.
    """

    urls: tuple[str, ...]
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def user(self) -> str:
        """The broker's user."""
        return unquote(urlsplit(self.urls[0]).username or "guest")

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return unquote(urlsplit(self.urls[0]).path[1:]) or "/"

    def full_urls(self) -> list[str]:
        """The URLs with the password as its file contains it now; never log them.

        Raises:
            ConfigError: the password is missing, or its file cannot be read.
        """
        if self.password_file is None:
            for url in self.urls:
                parts = urlsplit(url)
                if parts.username and parts.password is None:
                    raise ConfigError(
                        'broker.password_file: is missing: write password_file = "..."'
                    )
            return list(self.urls)
        password = quote(self._password(self.password_file), safe="")
        return [_with_password(url, password) for url in self.urls]

    @staticmethod
    def _password(file: Path) -> str:
        try:
            password = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"broker.password_file: {error}; make it readable for this user alone"
            ) from None
        except UnicodeDecodeError:
            # The error's text would quote the password.
            raise ConfigError(
                f"broker.password_file: {file} is not UTF-8 text; write the password into it"
            ) from None
        if not password:
            raise ConfigError(f"broker.password_file: {file} is empty; write the password into it")
        return password

    @property
    def shown(self) -> str:
        """The URLs without user and password, for operators; works for malformed URLs too."""
        parts = [url.partition("://") for url in self.urls]
        return ", ".join(f"{scheme}://{rest.rpartition('@')[2]}" for scheme, _, rest in parts)


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    place = parts.hostname or "localhost"
    place = f"[{place}]" if ":" in place else place
    place = f"{place}:{parts.port}" if parts.port else place
    return parts._replace(netloc=f"{parts.username or 'guest'}:{password}@{place}").geturl()


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
    except (ValueError, RecursionError) as error:  # also of UTF-8, and of numbers too long
        raise ConfigError(f"{path}: is not valid TOML: {error}; fix that line") from None


def hook_settings(path: Path) -> HookSettings:
    """The hooks' part of the file at `path`.

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
        broker=_broker(broker),
        spool=hooks.path("spool") or Path("/var/spool/lamplighter"),
        state=hooks.path("state") or Path("/var/lib/lamplighter/clock"),
        log_file=hooks.path("log_file"),
        resume_timeout=slurm.seconds("resume_timeout", 600),
        suspend_timeout=slurm.seconds("suspend_timeout", 60),
    )


def _broker(broker: "_Section") -> BrokerSettings:
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
    return BrokerSettings(urls, **paths)


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # The error's text can quote a part of the password, read as a port.
        return False


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

    def text(self, field: str) -> str:
        value = self._raw.get(field)
        if not isinstance(value, str) or not value:
            raise self.wrong(field, f'must be a string: write {field} = "..."')
        return value

    def one_or_more(self, field: str) -> tuple[str, tuple[str, ...]]:
        """The key `field`, or `field`s with a list: the key's name and its strings."""
        many = f"{field}s"
        if many not in self._raw:
            return field, (self.text(field),)
        values = self._raw[many]
        if not isinstance(values, list) or not all(v and isinstance(v, str) for v in values or [0]):
            raise self.wrong(many, f'must be a list of strings: write {many} = ["...", "..."]')
        if field in self._raw:
            raise self.wrong(many, f"replaces {field}: write only one of the two")
        return many, tuple(dict.fromkeys(values))

    def path(self, field: str) -> Path | None:
        return self._file.parent / self.text(field) if field in self._raw else None

    def seconds(self, field: str, default: int) -> int:
        value = self._raw.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _YEAR:
            raise self.wrong(
                field, f"must be whole seconds, from 1 to {_YEAR}: write {field} = {default}"
            )
        return value
