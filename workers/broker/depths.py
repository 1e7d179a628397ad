"""Counts the ready messages and the consumers of each queue, by passive declares."""

from dataclasses import dataclass
from typing import Any

from workers.broker.blocking import broker_errors
from workers.broker.topology import topology
from workers.errors import NotDeclaredError


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A queue's ready messages and consumers; both None if the queue does not exist."""

    name: str
    ready: int | None
    consumers: int | None


@broker_errors()
def queue_depths(channel: Any) -> list[QueueDepth]:  # noqa: ANN401 - pika has no types
    """All queues of the topology.

    Raises:
        BrokerError: as workers.broker.blocking.broker_errors.
    """
    found = []
    connection, probe = channel.connection, None
    for queue in topology().queues:
        if probe is None:
            probe = connection.channel()
        try:
            with broker_errors():
                answer = probe.queue_declare(queue=queue.name, passive=True).method
        except NotDeclaredError:
            probe = None  # the broker has closed it
            found.append(QueueDepth(queue.name, None, None))
        else:
            found.append(QueueDepth(queue.name, answer.message_count, answer.consumer_count))
    if probe is not None:
        probe.close()
    return found
