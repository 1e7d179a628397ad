"""Errors as one line and an exit code."""

import sqlalchemy as sa
from pika.exceptions import AMQPError, ProbableAccessDeniedError, ProbableAuthenticationError

from ops.terminal import plain
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from workers.errors import BrokerError

EXIT_WRONG = 2
EXIT_AWAY = 3


class StoreMissingError(Exception):
    """A database that no worker has made yet."""


def explain(error: Exception) -> tuple[str, int] | None:
    """The line to print and the exit code, or None for what is a bug."""
    match error:
        case ConfigError() | MalformedMessageError():
            return plain(str(error)), EXIT_WRONG
        case StoreMissingError():
            return plain(str(error)), EXIT_AWAY
        case ProbableAuthenticationError() | ProbableAccessDeniedError():
            return (
                "the broker refused the login; check broker.url and broker.password_file",
                EXIT_AWAY,
            )
        case AMQPError() | BrokerError():
            text = str(error) or type(error).__name__
            return f"the broker is away or refused: {plain(text)}", EXIT_AWAY
        case sa.exc.DBAPIError():
            # the driver's own words: SQLAlchemy's would add the statement and its values
            text = str(error.orig).strip().partition("\n")[0]
            return f"the store is away or refused: {plain(text)}", EXIT_AWAY
        case ConnectionError() | TimeoutError():
            return f"the broker is away: {plain(str(error))}", EXIT_AWAY
    return None
