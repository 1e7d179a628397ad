"""Declares the topology at the broker."""

from typing import Any

from workers.broker.topology import Topology


def declare(channel: Any, wanted: Topology) -> None:  # noqa: ANN401 - pika has no types
    """Declare everything; existing equal exchanges, queues and bindings stay as they are."""
    for exchange in wanted.exchanges:
        channel.exchange_declare(exchange=exchange.name, exchange_type=exchange.type, durable=True)
    for queue in wanted.queues:
        channel.queue_declare(queue=queue.name, durable=True, arguments=queue.arguments)
    for binding in wanted.bindings:
        channel.queue_bind(exchange=binding.exchange, queue=binding.queue, routing_key=binding.key)
