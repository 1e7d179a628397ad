"""Whether the workers of an installation consume their queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from producers.amqp import connection_parameters
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.errors import BrokerError

if TYPE_CHECKING:
    from workers.config.settings import Settings

_QUEUES = (topology.RESUME_QUEUE, topology.AUDIT_QUEUE, topology.TOKEN_QUEUE)


def all_consume(settings: Settings, *more: str, power_workers: int | None = None) -> bool:
    """Whether the power, audit and token workers consume their queues, and others the queues `more`.

    With `power_workers`, exactly that many must consume.
    """
    try:
        with blocking_channel(connection_parameters(settings.broker, "test bed")) as channel:
            found = [channel.queue_declare(queue=q, passive=True).method for q in (*_QUEUES, *more)]
    except BrokerError:  # not yet declared, or not yet there
        return False
    if power_workers is not None and found[0].consumer_count != power_workers:
        return False
    return all(queue.consumer_count for queue in found)
