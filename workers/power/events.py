"""What the engine's inbox holds: each event has a name."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

from producers.message import Message
from workers.broker.delivery import Delivery
from workers.clouds.driver import Answered, Listed


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery has come."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Connected:
    """The link has a new connection; what came over the old ones will be delivered again."""

    connection: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The broker has answered a publish, or the connection has gone.

    Attributes:
        key: connection and tag of the delivery that it was for; None for an alarm.
    """

    key: tuple[int, int] | None
    message: Message
    result: Future[None]


Event: TypeAlias = Arrived | Connected | Confirmed | Answered | Listed
