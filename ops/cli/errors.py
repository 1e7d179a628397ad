"""Turns known errors into one line and an exit code."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ops.cli.terminal import plain
from producers.clock import ClockError
from producers.settings import ConfigError
from producers.spool import SpoolError
from schemas.errors import MalformedMessageError
from workers.errors import (
    BrokerAlarmError,
    BrokerError,
    BrokerLoginError,
    NotDeclaredError,
    TokenServiceAwayError,
)
from workers.slurm.commands import SlurmAwayError
from workers.store.database import store_problem

EXIT_FOUND = 1
EXIT_WRONG = 2
EXIT_AWAY = 3
_REMEDIES = {
    errno.EEXIST: "name another file, or remove this one",
    errno.ENOENT: "make its folder, or name another",
    errno.EACCES: "name a file in a folder where you may write",
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "name a file in a folder",
    errno.ENOSPC: "name a file on another disk",
}
_POSTGRESQL = {"psycopg", "psycopg2"}


class StoreMissingError(Exception):
    """A database that no worker has created yet, or that this user may not open."""


STORE_ERRORS = (sa.exc.SQLAlchemyError, StoreMissingError)


def explain(error: Exception) -> tuple[str, int] | None:
    """The line to print and the exit code; None for an error that is a bug."""
    match error:
        case ConfigError() | MalformedMessageError() | ClockError() | SpoolError():
            line, code = str(error), EXIT_WRONG
        case sa.exc.ArgumentError():
            line, code = f"store.url or store.audit_url: {error}", EXIT_WRONG
        case ModuleNotFoundError(name=str(name)) if name in _POSTGRESQL:
            line = (
                "store.url: psycopg is not installed; in the folder of Lamplighter's source, run "
                f"{sys.prefix}/bin/pip install '.[postgresql]', and write postgresql+psycopg://"
            )
            code = EXIT_WRONG
        case (
            StoreMissingError()
            | SlurmAwayError()
            | TokenServiceAwayError()
            | BrokerLoginError()
            | BrokerAlarmError()
        ):
            line, code = str(error), EXIT_AWAY
        case NotDeclaredError():
            line, code = f"{error}: run lamplighter topology apply", EXIT_AWAY
        case BrokerError():
            prefix = "the broker is unavailable or refused the request: "
            line = str(error) if str(error).startswith("the broker ") else f"{prefix}{error}"
            code = EXIT_AWAY
        case sa.exc.DBAPIError():
            line = f"the store is unavailable or refused the request: {store_problem(error)}"
            code = EXIT_AWAY
        case ConnectionError() | TimeoutError() | socket.gaierror():
            line, code = f"the broker is unavailable: {error}", EXIT_AWAY
        case OSError():
            line, code = _of_file(error), EXIT_WRONG
        case _:
            return None
    return plain(line), code


def _of_file(error: OSError) -> str:
    if error.filename is None:
        return str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{error.filename}: {error.strerror}{f': {remedy}' if remedy else ''}"


@contextmanager
def noting(problems: list[str], *errors: type[Exception]) -> Iterator[None]:
    """Add these errors to the problems, described, instead of raising them."""
    try:
        yield
    except errors as error:
        problems.append(describe_error(error))


def describe_error(error: Exception) -> str:
    """The line that `explain` gives, or else the type and the message."""
    explained = explain(error)
    return explained[0] if explained else f"{type(error).__name__}: {error}"
