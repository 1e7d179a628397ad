"""A short blocking connection: for declaring, and for operators who look into queues."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPConnectionError, AMQPError


@contextmanager
def blocking_channel(parameters: pika.URLParameters) -> Iterator[Any]:
    """A channel of a connection of its own; messages taken and not acknowledged go back.

    Raises:
        pika.exceptions.AMQPError: the broker is away or refuses.
    """
    try:
        connection = pika.BlockingConnection(parameters)
    except AMQPConnectorException as error:
        # a broker that takes connections and says nothing: pika's own error for it is no AMQPError
        raise AMQPConnectionError(f"no answer within {parameters.stack_timeout:g} s") from error
    try:
        yield connection.channel()
    finally:
        with suppress(AMQPError):
            connection.close()
