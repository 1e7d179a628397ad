"""Takes all messages of a queue that no worker consumes, or says why it cannot.

The broker counts 0 messages in a queue without a leader, and a slow network delivers late: neither a
count nor silence alone says that a queue is empty. The counts here come over the channel that brings
the messages, behind those that are on their way.
"""

import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from workers.broker.depths import QueueDepth
from workers.broker.session import no_quorum
from workers.errors import BrokerAwayError

if TYPE_CHECKING:
    from workers.broker.delivery import Delivery

# The broker's node may be behind the queue's leader by a moment.
_SETTLED = 0.2
# What another consumer has held for a moment (`lamplighter status`) comes back to us in this time.
_RETURNED = 2.0
# An election, or a network that stands still, takes no longer.
_PATIENCE = 10.0


class Counting(Protocol):
    """The link that consumes the queue."""

    def count(self, queue: str) -> Future[QueueDepth]:
        """The queue's counts, behind the deliveries that the broker has sent before."""


class ReadStep(Enum):
    """What a reader does next."""

    GO_ON = auto()
    END = auto()  # all are ours
    END_SHARED = auto()  # another consumer may hold some
    FAIL_LEADERLESS = auto()
    FAIL_STUCK = auto()


@dataclass(frozen=True, slots=True)
class TakenLetters:
    """The messages, and whether another consumer may hold more."""

    deliveries: Sequence["Delivery"]
    is_shared: bool


def next_step(depth: QueueDepth, quiet: float) -> ReadStep:
    """What a count means that is the same, with nothing arriving, for `quiet` seconds. Pure."""
    if not depth.consumers:  # we are one
        return ReadStep.FAIL_LEADERLESS if quiet > _PATIENCE else ReadStep.GO_ON
    if depth.ready:
        return ReadStep.FAIL_STUCK if quiet > _PATIENCE else ReadStep.GO_ON
    if depth.consumers > 1:
        return ReadStep.END_SHARED if quiet > _RETURNED else ReadStep.GO_ON
    return ReadStep.END if quiet > _SETTLED else ReadStep.GO_ON


def take_all(
    link: Counting, name: str, arrived: "queue.Queue[Delivery]", most: int
) -> TakenLetters:
    """All messages of a queue that `link` consumes, at most `most`, which is its prefetch.

    Raises:
        NoQuorumError: the queue has lost its leader.
        BrokerAwayError: the broker is silent, or holds messages back.
    """
    taken: list[Delivery] = []
    seen, since = None, 0.0
    while len(taken) < most:
        depth = _count(link, name, arrived, taken)
        if (depth, len(taken)) != seen:
            seen, since = (depth, len(taken)), time.monotonic()
        match next_step(depth, time.monotonic() - since):
            case ReadStep.END:
                return TakenLetters(taken, is_shared=False)
            case ReadStep.END_SHARED:
                return TakenLetters(taken, is_shared=True)
            case ReadStep.FAIL_LEADERLESS:
                raise no_quorum(name)
            case ReadStep.FAIL_STUCK:
                raise BrokerAwayError(
                    f"the broker holds {depth.ready} messages in {name} and does not deliver them; "
                    "lamplighter status says what is wrong"
                )
        _drain(arrived, taken, _SETTLED / 2)
    return TakenLetters(taken, is_shared=False)


def _count(
    link: Counting, name: str, arrived: "queue.Queue[Delivery]", taken: list["Delivery"]
) -> QueueDepth:
    """The queue's counts; what arrives meanwhile is taken. Fails only if nothing arrives."""
    answer = link.count(name)
    while True:
        before = len(taken)
        try:
            depth = answer.result(_PATIENCE)
        except Late:
            _drain(arrived, taken)
            if len(taken) == before:
                raise BrokerAwayError(f"the broker is silent since {_PATIENCE:g} s") from None
        else:
            _drain(arrived, taken)
            return depth


def _drain(arrived: "queue.Queue[Delivery]", taken: list["Delivery"], seconds: float = 0.0) -> None:
    """Take what has arrived; wait up to `seconds` for the first."""
    try:
        taken.append(arrived.get(timeout=seconds) if seconds else arrived.get_nowait())
        while True:
            taken.append(arrived.get_nowait())
    except queue.Empty:
        pass
