"""A reader of dead letters takes all of them, or fails: never some for all, never none for away."""

from __future__ import annotations

import queue
from concurrent.futures import Future
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from ops.dead_letters import reading
from ops.dead_letters.reading import ReadStep, next_step, take_all
from tests.testbed.deliveries import delivery
from workers.broker.depths import QueueDepth
from workers.errors import BrokerAwayError, NoQuorumError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workers.broker.delivery import Delivery

NAME = "power.dlq"
# (ready, consumers, letters that arrive before this answer); None: no answer
Answer = tuple[int, int, int] | None


class ScriptedLink:
    """A broker's answers, one after the other; the last one goes on for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.arrived: queue.Queue[Delivery] = queue.Queue()
        self._answers: Iterable[Answer] = iter(chain(answers, repeat(_quiet(answers[-1]))))

    def count(self, name: str) -> Future[QueueDepth]:
        future: Future[QueueDepth] = Future()
        if (answer := next(iter(self._answers))) is not None:
            ready, consumers, letters = answer
            for _ in range(letters):
                self.arrived.put(delivery())
            future.set_result(QueueDepth(name, ready, consumers))
        return future


def _quiet(answer: Answer) -> Answer:
    return None if answer is None else (answer[0], answer[1], 0)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_SETTLED", 0.02), ("_RETURNED", 0.05), ("_PATIENCE", 0.1)):
        monkeypatch.setattr(reading, name, seconds)


@pytest.mark.parametrize(
    ("answers", "taken", "shared"),
    [
        ([(0, 1, 0)], 0, False),
        ([(0, 1, 5)], 5, False),
        ([(3, 1, 2), (0, 1, 3)], 5, False),
        # the queue had no leader at first
        ([(0, 0, 0), (0, 0, 0), (0, 1, 5)], 5, False),
        # letters are late
        ([(5, 1, 0), (5, 1, 0), (0, 1, 0), (0, 1, 5)], 5, False),
        # a command that is about to end holds one
        ([(0, 2, 4), (0, 2, 0), (0, 1, 1)], 5, False),
        ([(0, 2, 4)], 4, True),
        ([(9, 1, 10)], 10, False),  # as many as one may hold
    ],
)
def test_all_letters_are_taken_whatever_the_first_counts_say(
    answers: list[Answer],
    taken: int,
    shared: bool,  # noqa: FBT001 - a parameter
) -> None:
    link = ScriptedLink(*answers)
    found = take_all(link, NAME, link.arrived, 10)
    assert (len(found.deliveries), found.is_shared) == (taken, shared)


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        ([(0, 0, 0)], NoQuorumError, "does not answer for power.dlq: it has no quorum"),
        ([(0, 0, 3)], NoQuorumError, "no quorum"),
        ([(5, 1, 0)], BrokerAwayError, "holds 5 messages in power.dlq and does not deliver"),
        ([(3, 1, 2)], BrokerAwayError, "holds 3 messages"),
        ([None], BrokerAwayError, "the broker is silent"),
        ([(3, 1, 2), None], BrokerAwayError, "the broker is silent"),
    ],
)
def test_silence_and_missing_leaders_are_errors_not_the_end_of_the_queue(
    answers: list[Answer], error: type[Exception], words: str
) -> None:
    link = ScriptedLink(*answers)
    with pytest.raises(error, match=words):
        take_all(link, NAME, link.arrived, 10)


def test_only_a_queue_that_is_ours_alone_and_quiet_is_at_its_end() -> None:
    counts = [QueueDepth(NAME, ready, consumers) for ready in (0, 1) for consumers in (0, 1, 2)]
    ends = {
        (depth.ready, depth.consumers)
        for depth in counts
        for quiet in (0.0, 1.0)
        if next_step(depth, quiet) is ReadStep.END
    }
    assert ends == {(0, 1)}
