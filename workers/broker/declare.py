"""Declares the topology at the broker."""

from collections.abc import Callable
from typing import Any

import structlog

from producers.amqp import connection_parameters
from workers.broker.backoff import Backoff
from workers.broker.blocking import blocking_channel
from workers.broker.topology import Topology, topology
from workers.config.settings import Settings
from workers.errors import AccessRefusedError, BrokerAwayError, BrokerError, BrokerLoginError


def declare(channel: Any, wanted: Topology) -> None:  # noqa: ANN401 - pika has no types
    """Declare everything; existing equal exchanges, queues and bindings stay as they are."""
    for exchange in wanted.exchanges:
        channel.exchange_declare(exchange=exchange.name, exchange_type=exchange.type, durable=True)
    for queue in wanted.queues:
        channel.queue_declare(queue=queue.name, durable=True, arguments=queue.arguments)
    for binding in wanted.bindings:
        channel.queue_bind(exchange=binding.exchange, queue=binding.queue, routing_key=binding.key)


def declare_until_stopped(
    settings: Settings, name: str, stops: Callable[[float], bool], tell: Callable[[str], None]
) -> None:
    """Declare the topology, and try again until it succeeds or `stops` says so.

    A user without the permission to configure leaves it to the administrator
    (`lamplighter topology apply`). `stops` waits a number of seconds; `tell` gets the problem after
    each failure.
    """
    log = structlog.get_logger()
    if settings.broker.users is not None:  # only role `setup` may
        return
    parameters = connection_parameters(settings.broker, name)
    wanted = topology(notify_keys=settings.notify_keys)
    backoff = Backoff()
    while not stops(0.0):
        try:
            with blocking_channel(parameters) as channel:
                declare(channel, wanted)
        except AccessRefusedError:
            log.info("topology_left_to_administrator")
            return
        except (BrokerAwayError, BrokerLoginError) as error:
            tell(f"waits for the broker: {error}")
            log.warning("broker_away", reason=str(error))
        except BrokerError as error:
            tell(f"cannot declare the topology: {error}")
            remedy = "run lamplighter topology check"
            log.error("topology_not_declared", reason=str(error), remedy=remedy)  # noqa: TRY400 - the reason is enough
        else:
            return
        stops(backoff.next())
