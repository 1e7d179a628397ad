"""Finds the secrets of an installation that this user can read, so that they can be masked."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from producers.disk import read_file
from producers.settings import ConfigError, read_toml
from producers.trust import may_be_secret, resolved
from workers.config.yaml_file import loaded
from workers.store.passfile import passwords

_NAMES = re.compile(
    r"(?:passw(?:or)?d|pass|passcode|secret|token|key|credential)s?$", re.IGNORECASE
)
_PUBLIC_FILES = frozenset({"ca_file", "cert_file", "log_file", "heads_file", "user_data_file"})
# In a file that cannot be parsed.
_YAML_PAIR = re.compile(r"""([\w-]+)["']?[ \t]*:[ \t]*(?=("[^"\n]*"|'[^'\n]*'|[^\s{\["'][^\n]*))""")
_LARGEST = 2**16


def known_secrets(config: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """All secrets that lamplighter.toml holds or names, and those in the environment."""
    for name, value in environ.items():
        yield from (value,) if _NAMES.search(name) else _in_url(value)
    yield from _of_postgresql(environ)
    with suppress(ConfigError):
        yield from _in_table(read_toml(config), config.parent)
    # those that a file which cannot be parsed may hold
    with suppress(OSError):
        for line in _text(config).splitlines():
            name, _, value = line.partition("=")
            if _NAMES.search(name.strip()):
                yield value.strip().strip("\"'")
            yield from _in_url(line.strip().strip("\"'"))


def _of_postgresql(environ: Mapping[str, str]) -> Iterator[str]:
    """The passwords that libpq reads (libpq, "The Password File" and "The Connection Service File")."""
    places = {"PGPASSFILE": "~/.pgpass", "PGSERVICEFILE": "~/.pg_service.conf"}
    for variable, usual in places.items():
        with suppress(OSError):
            file = Path(environ.get(variable) or usual).expanduser()
            text = _text(file)
            yield from passwords(text)
            yield from re.findall(r"(?m)^password=(.+)$", text)


def _in_table(table: object, folder: Path, name: str = "") -> Iterator[str]:
    if isinstance(table, dict):
        for key, value in table.items():
            yield from _in_table(value, folder, str(key))
    elif isinstance(table, list):
        # the first word of a command is its program
        yield from (str(word) for word in table[1:] if name.endswith("_command"))
        for value in table:
            yield from _in_table(value, folder, "" if name.endswith("_command") else name)
    elif isinstance(table, str):
        yield from _in_url(table)
        yield from _in_passfiles(table)
        if name == "clouds_yaml" or (name.endswith("_file") and name not in _PUBLIC_FILES):
            yield from _in_file(table, folder)
        elif name == "folder":  # of [broker.users]
            for file in (*(folder / table).glob("*.password"), *(folder / table).glob("*.key")):
                yield from _in_file(str(file), folder)
        elif _NAMES.search(name):
            yield table


def _in_url(text: str) -> Iterator[str]:
    for found in re.findall(r"[a-z][a-z0-9+]*://[^\s\"']+", text):
        with suppress(ValueError):
            url = urlsplit(found)
            if url.password:
                yield url.password
                yield unquote(url.password)
            if url.query and not url.scheme.startswith("postgresql"):
                yield from (pair.partition("=")[2] for pair in url.query.split("&"))
            # the path of a webhook is its password
            if url.scheme in {"http", "https"} and "@" not in found:
                yield from (part for part in url.path.split("/") if len(part) >= 16)  # noqa: PLR2004 - longer than a word


def _in_passfiles(text: str) -> Iterator[str]:
    """The passwords in the files that the URL of a database names, for all roles."""
    with suppress(ValueError, OSError):
        for name in parse_qs(urlsplit(text).query).get("passfile", []):
            path = Path(name)
            for file in path.parent.glob(path.name.replace("{role}", "*")):
                yield from passwords(_text(file))


def _in_file(name: str, folder: Path) -> Iterator[str]:
    try:
        path = folder / resolved(Path(name))
    except FileNotFoundError:  # only its service knows the credential
        return
    if may_be_secret(name) and not path.exists():
        yield name  # in place of a file's name
    for one in (path, path.with_name("secure.yaml")):
        with suppress(OSError):
            text = _text(one)
            if one.suffix in {".yaml", ".yml"}:
                yield from _in_yaml_text(text)
            elif one == path:
                yield from (text, *text.splitlines())


def _text(file: Path) -> str:
    """The beginning of a file; OSError if it cannot be read."""
    return read_file(file)[:_LARGEST].decode(errors="replace")


def _in_yaml_text(text: str) -> Iterator[str]:
    try:
        yield from _in_yaml(loaded(text))
    except Exception:  # noqa: BLE001 - tags and nesting make PyYAML raise almost anything
        for name, value in _YAML_PAIR.findall(text):
            if _NAMES.search(name):
                yield value.strip().strip("\"'")
                # a list or a comment may go on behind it
                yield re.split("[,}#]", value)[0].strip()


def _in_yaml(content: object, name: str = "") -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _in_yaml(value, str(key))
    elif isinstance(content, list):
        for value in content:
            yield from _in_yaml(value, name)
    elif _NAMES.search(name) and content is not None:
        yield str(content)
