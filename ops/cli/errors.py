"""Errors as one line and an exit code."""

import socket

import sqlalchemy as sa

from ops.cli.terminal import plain
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from workers.errors import BrokerError, BrokerLoginError, TokenServiceAwayError

EXIT_WRONG = 2
EXIT_AWAY = 3
_EXTRAS = {
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "starlette": "console",
    "uvicorn": "console",
}


class StoreMissingError(Exception):
    """A database that no worker has made yet."""


def explain(error: Exception) -> tuple[str, int] | None:
    """The line to print and the exit code, or None for what is a bug."""
    match error:
        case ConfigError() | MalformedMessageError():
            line, code = str(error), EXIT_WRONG
        case sa.exc.ArgumentError():
            line, code = f"store.url or store.audit_url: {error}", EXIT_WRONG
        case ModuleNotFoundError(name=str(name)) if name in _EXTRAS:
            line = f"{name} is missing: install lamplighter[{_EXTRAS[name]}]"
            code = EXIT_WRONG
        case StoreMissingError() | TokenServiceAwayError() | BrokerLoginError():
            line, code = str(error), EXIT_AWAY
        case BrokerError():
            line, code = f"the broker is away or refused: {error}", EXIT_AWAY
        case sa.exc.DBAPIError():
            # the driver's own words: SQLAlchemy's would add the statement and its values
            words = str(error.orig).strip().partition("\n")[0]
            line, code = f"the store is away or refused: {words}", EXIT_AWAY
        case ConnectionError() | TimeoutError() | socket.gaierror():
            line, code = f"the broker is away: {error}", EXIT_AWAY
        case OSError():
            line, code = str(error), EXIT_WRONG
        case _:
            return None
    return plain(line), code
