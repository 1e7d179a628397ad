"""Declares a topology on the broker of a busy machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.testbed.waiting import until
from workers.broker.blocking import blocking_channel
from workers.broker.declare import declare
from workers.errors import BrokerAwayError

if TYPE_CHECKING:
    from producers.amqp import ConnectionParameters
    from workers.broker.topology import Topology


def declare_in_time(parameters: ConnectionParameters, wanted: Topology) -> None:
    """Declare it, as the workers do: again while the broker does not do it within its own limits."""

    def declared() -> bool:
        try:
            with blocking_channel(parameters) as channel:
                declare(channel, wanted)
        except BrokerAwayError:
            return False
        return True

    until(declared, 60.0, "the topology to be declared", interval=1.0)
