"""A short blocking connection, for declaring and for operators; pika's errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from producers.amqp import ConnectionParameters, reason_of
from producers.reasons import causes
from workers.errors import (
    AccessRefusedError,
    BrokerAwayError,
    BrokerError,
    BrokerLoginError,
    NotDeclaredError,
)

# AMQP 0-9-1, section 1.2
_BY_REPLY_CODE = {403: AccessRefusedError, 404: NotDeclaredError}


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn pika's errors into ours.

    Raises:
        BrokerError: a problem with the broker; the text says what, and the remedy if there is one.
    """
    try:
        yield
    except ChannelClosedByBroker as error:
        raise _BY_REPLY_CODE.get(error.reply_code, BrokerError)(error.reply_text) from error
    except AMQPError as error:
        raise connection_error(error) from error


def connection_error(
    error: BaseException, parameters: ConnectionParameters | None = None
) -> BrokerError:
    """Our error for a connection that was not made, or that ended, with the remedy."""
    reason = reason_of(error, parameters)
    refused = ProbableAuthenticationError, ProbableAccessDeniedError
    if any(isinstance(one, refused) for one in causes(error)):
        return BrokerLoginError(reason)
    if reason is None and parameters and isinstance(error, AMQPConnectorException):
        reason = f"no answer within {parameters.stack_timeout:g} s"
    if reason is None and type(error) is AMQPConnectionError and not str(error):
        reason = (
            "the broker does not answer: start it, or check broker.url; "
            "until then hooks write to the spool"
        )
    return BrokerAwayError(reason or str(error) or type(error).__name__)


@contextmanager
def blocking_channel(parameters: ConnectionParameters) -> Iterator[Any]:
    """A channel on its own connection; the broker requeues messages that are not acknowledged.

    Raises:
        BrokerError: as `broker_errors`.
    """
    with broker_errors():
        try:
            connection = pika.BlockingConnection(parameters)
        except (AMQPError, AMQPConnectorException, OSError) as error:
            raise connection_error(error, parameters) from error
        try:
            yield connection.channel()
        finally:
            with suppress(AMQPError):
                connection.close()
