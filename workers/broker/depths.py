"""How deep the queues are, and who consumes them, as passive declares tell."""

from dataclasses import dataclass
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from workers.broker.topology import topology


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A queue as a passive declare sees it; None where it does not exist."""

    name: str
    ready: int | None
    consumers: int | None


def queue_depths(channel: Any) -> list[QueueDepth]:  # noqa: ANN401 - pika has no types
    """All queues of the topology.

    Raises:
        pika.exceptions.AMQPError: the broker is away or refuses.
    """
    found = []
    connection, probe = channel.connection, None
    for queue in topology().queues:
        if probe is None:
            probe = connection.channel()
        try:
            answer = probe.queue_declare(queue=queue.name, passive=True).method
        except ChannelClosedByBroker:  # the broker's answer to a missing queue
            probe = None
            found.append(QueueDepth(queue.name, None, None))
        else:
            found.append(QueueDepth(queue.name, answer.message_count, answer.consumer_count))
    if probe is not None:
        probe.close()
    return found
