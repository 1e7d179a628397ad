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

from producers.amqp import ConnectionParameters
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
    except (ProbableAuthenticationError, ProbableAccessDeniedError) as error:
        raise BrokerLoginError(
            "the broker refused the login; check broker.url and broker.password_file"
        ) from error
    except ChannelClosedByBroker as error:
        raise _BY_REPLY_CODE.get(error.reply_code, BrokerError)(error.reply_text) from error
    except AMQPError as error:
        text = str(error) or type(error).__name__
        if type(error) is AMQPConnectionError and not str(error):  # a refused connection
            text = (
                "the broker does not answer: start it, or check broker.url; "
                "until then hooks write to the spool"
            )
        raise BrokerAwayError(text) from error


@contextmanager
def blocking_channel(parameters: ConnectionParameters) -> Iterator[Any]:
    """A channel on its own connection; the broker requeues messages that are not acknowledged.

    Raises:
        BrokerError: as `broker_errors`.
    """
    with broker_errors():
        try:
            connection = pika.BlockingConnection(parameters)
        except AMQPConnectorException as error:  # a silent broker; not an AMQPError
            raise BrokerAwayError(f"no answer within {parameters.stack_timeout:g} s") from error
        except OSError as error:  # an unknown host
            raise BrokerAwayError(str(error)) from error
        try:
            yield connection.channel()
        finally:
            with suppress(AMQPError):
                connection.close()
