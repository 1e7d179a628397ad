"""The consumer of one queue as a state machine: what to do after each signal. Pure.

A queue is checked before it is consumed, because consuming a missing queue closes the channel and so
requeues the deliveries of all queues. Each consumer has a tag of its own, so that a resume need not
wait until the broker has cancelled the consumer before.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto


class Phase(Enum):
    """What a subscription is doing.

    IDLE: nothing; the link is paused.
    CHECKING: the broker was requested to show the queue.
    CONSUMING: the queue is consumed, or the broker was requested to.
    WAITING: until the queue is checked again.
    """

    IDLE = auto()
    CHECKING = auto()
    CONSUMING = auto()
    WAITING = auto()


class Signal(Enum):
    """What happens to a subscription: the link's wishes, and the broker's answers.

    CONSUMED: the broker confirmed the consumer.
    CANCELLED: the broker cancelled the consumer: the queue was deleted, or failed over, or the
        acknowledgement of a delivery took longer than consumer_timeout.
    WAITED: the wait is over.
    """

    RESUME = auto()
    PAUSE = auto()
    FOUND = auto()
    MISSING = auto()
    CONSUMED = auto()
    CANCELLED = auto()
    WAITED = auto()


class SubscriptionStep(Enum):
    """What to do; CHECK is answered by FOUND or MISSING, WAIT by WAITED."""

    CHECK = auto()
    CONSUME = auto()
    CANCEL = auto()
    WAIT = auto()


@dataclass(frozen=True, slots=True)
class Subscription:
    """A queue and its consumer.

    Attributes:
        wanted: whether the link wants the queue's deliveries.
        number: of the newest consumer.
        is_lost: whether the queue was missing or its consumer cancelled, and no consumer is confirmed.
        is_consumed: whether the broker has confirmed the newest consumer; it does so only while the
            queue has a quorum.
    """

    queue: str
    wanted: bool = False
    phase: Phase = Phase.IDLE
    number: int = 0
    is_lost: bool = False
    is_consumed: bool = False

    @property
    def tag(self) -> str:
        """The tag of the newest consumer."""
        return f"{self.queue} {self.number}"


def after(now: Subscription, signal: Signal) -> tuple[Subscription, SubscriptionStep | None]:
    """The subscription after a signal, and what to do; a signal that comes too late has no effect."""
    match signal, now.phase:
        case ((Signal.RESUME | Signal.PAUSE), _):
            now = replace(now, wanted=signal is Signal.RESUME)
        case Signal.FOUND, Phase.CHECKING if now.wanted:
            return replace(
                now, phase=Phase.CONSUMING, number=now.number + 1
            ), SubscriptionStep.CONSUME
        case (Signal.FOUND, Phase.CHECKING) | (Signal.WAITED, Phase.WAITING):
            now = replace(now, phase=Phase.IDLE)
        case (Signal.MISSING, Phase.CHECKING) | (Signal.CANCELLED, Phase.CONSUMING):
            now = replace(now, phase=Phase.WAITING, is_lost=True, is_consumed=False)
            return now, SubscriptionStep.WAIT
        case Signal.CONSUMED, Phase.CONSUMING:
            now = replace(now, is_lost=False, is_consumed=True)
    if now.wanted and now.phase is Phase.IDLE:
        return replace(now, phase=Phase.CHECKING), SubscriptionStep.CHECK
    if not now.wanted and now.phase is Phase.CONSUMING:
        return replace(now, phase=Phase.IDLE, is_consumed=False), SubscriptionStep.CANCEL
    return now, None
