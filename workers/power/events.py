"""What the engine's inbox holds: each event has a name."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

from workers.broker.delivery import Delivery
from workers.broker.depths import QueueDepth
from workers.broker.outgoing import Confirmed
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
class Counted:
    """The broker has counted what is left in the work queues, after what it has delivered; or is away."""

    depths: tuple[Future[QueueDepth], ...]


Event: TypeAlias = Arrived | Connected | Confirmed | Counted | Answered | Listed
