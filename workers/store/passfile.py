"""Reads PostgreSQL's password files (libpq, "The Password File")."""

import re
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from producers.settings import ConfigError
from producers.trust import UntrustedFileError, is_credential, read_trusted

_LINE = re.compile(r"(?:(?:[^\\:\n]|\\.)*:){4}(.+)")


def passwords(text: str) -> Iterator[str]:
    """The password of each line host:port:database:user:password."""
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            yield re.sub(r"\\(.)", r"\1", found[1])


def credential(url: str) -> tuple[sa.URL, dict[str, str]]:
    """The URL without a passfile that systemd has passed to this service, and the password in it.

    libpq does not know $CREDENTIALS_DIRECTORY, and ignores a file with bits for its group, as systemd
    makes them. A URL whose passfile is not a credential is for libpq.

    Raises:
        ConfigError: systemd has passed none, or it holds no password.
    """
    parsed = sa.make_url(url)
    name = parsed.query.get("passfile")
    if not isinstance(name, str) or not is_credential(path := Path(name)):
        return parsed, {}
    try:
        password = next(passwords(read_trusted(path, private=True)), None)
    except (OSError, UnicodeDecodeError, UntrustedFileError) as error:
        raise ConfigError(
            f"store: passfile: {error}; write LoadCredential= into the unit"
        ) from None
    if password is None:
        raise ConfigError(f"store: passfile: {path}: write a line *:*:*:*:PASSWORD")
    return parsed.difference_update_query(["passfile"]), {"password": password}
