"""A short blocking connection: for declaring, and for operators who look into queues."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika.exceptions import AMQPError


@contextmanager
def browse(parameters: pika.URLParameters) -> Iterator[Any]:
    """A channel of a connection of its own; messages taken and not acknowledged go back.

    Raises:
        pika.exceptions.AMQPError: the broker is away or refuses.
    """
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection.channel()
    finally:
        with suppress(AMQPError):
            connection.close()
