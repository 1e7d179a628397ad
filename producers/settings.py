"""Reads lamplighter.toml, and the part of it that the hooks need."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from producers.disk import UnusualFileError, read_text, user_name
from schemas.fields import is_cluster_name, shown

# Everything that may be at the top of the file.
TOP_LEVEL = (
    *("cluster", "dry_run", "broker", "hooks", "slurm", "resync", "store", "audit", "power"),
    *("tokens", "clouds", "groups", "notify", "console", "metrics", "log"),
)
BROKER_FIELDS = (
    *("url", "urls", "password_file", "ca_file", "cert_file", "key_file"),
    *("management_url", "management_urls"),
)
HOOK_FIELDS = ("spool", "state", "log_file")

_YEAR = 31_536_000
# The reader's time grows with the square of a key's parts: our deepest has five.
_MOST_BYTES = 2**20
_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){40}""")
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
                f"broker.password_file: {error.strerror}: {file}; write the password "
                f"into it, and make it readable for user {user_name()} alone"
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


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content; ConfigError if the file cannot be read or is not TOML."""
    try:
        text = read_text(path, _MOST_BYTES)
        if _DEEP_KEY.search(text):
            raise ConfigError(f"{path}: is not valid TOML: a key has too many parts; shorten it")
        content = tomllib.loads(text)
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
    except UnusualFileError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}; fix that line") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or a NUL in the path
        raise ConfigError(
            f"{str(path)!r}: cannot be read as TOML: it is nested too deeply, or has a number "
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
