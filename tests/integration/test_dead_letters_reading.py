"""Dead letters are read whole or not at all, on a slow or broken network, beside other readers too."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ops.dead_letters.queue import DeadLetterQueue
from producers.amqp import connection_parameters
from tests.testbed.cut import Cut
from tests.testbed.installation import Installation
from tests.testbed.messages import command, dead_letter
from tests.testbed.waiting import until
from workers.broker.topology import DEAD_LETTER_QUEUE
from workers.errors import BrokerAwayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker

LETTERS = 2000


@pytest.fixture
def cut(broker: Broker) -> Iterator[Cut]:
    with Cut(broker.port) as proxy:
        yield proxy


@pytest.fixture
def far(run_dir: Path, broker: Broker, vhost: str, cut: Cut, site: Installation) -> Installation:
    """An installation with many letters, whose connection to the broker can be cut."""
    site.publish([dead_letter(command(f"node{n}")) for n in range(LETTERS)])
    url = broker.amqp_url(vhost).replace(f":{broker.port}/", f":{cut.port}/")
    return Installation(run_dir / "far", url)


class _Interrupted(DeadLetterQueue):
    """Cuts its connection as soon as the broker has confirmed the consumer."""

    def cut_after_proof(self, cut: Cut) -> None:
        prove = self._link.prove_consuming

        def prove_and_cut(timeout: float) -> None:
            prove(timeout)
            cut.silence()

        self._link.prove_consuming = prove_and_cut  # type: ignore[method-assign]


def test_letters_that_do_not_arrive_are_an_error_and_no_shorter_list(
    far: Installation, cut: Cut
) -> None:
    parameters = connection_parameters(far.settings.broker, "test")
    with _Interrupted(parameters, "test") as dead_letters:
        dead_letters.cut_after_proof(cut)
        with pytest.raises(BrokerAwayError):
            dead_letters.letters()
        cut.mend()
    far.wait_depth(DEAD_LETTER_QUEUE, LETTERS)


def test_letters_that_arrive_late_are_all_read(far: Installation, cut: Cut) -> None:
    """The network stands still for longer than any two letters were ever apart."""
    parameters = connection_parameters(far.settings.broker, "test")
    later = threading.Timer(4.0, cut.mend)
    with _Interrupted(parameters, "test") as dead_letters:
        dead_letters.cut_after_proof(cut)
        later.start()
        assert len(dead_letters.letters()) == LETTERS
    later.join()


def test_who_reads_beside_another_command_is_told_so(site: Installation) -> None:
    site.publish([dead_letter(command(f"node{n}")) for n in range(3)])
    with DeadLetterQueue(connection_parameters(site.settings.broker, "test"), "test") as first:
        assert len(first.letters()) == 3
        assert not first.is_shared
        beside = site.lamplighter("dead-letters", "list")
        assert (beside.code, "has the dead letters open" in beside.err) == (0, True)
    until(lambda: site.depth(DEAD_LETTER_QUEUE) == 3, 10, "the letters")
    alone = site.lamplighter("dead-letters", "list", "--json")
    assert (len(alone.lines), alone.err) == (3, "")
