"""How requests leave the board: retried, parked, ended; and what a newer generation makes void."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schemas import headers
from schemas.commands import Kind, PowerCommand
from schemas.envelope import parse
from schemas.events import Cause, Transition, event_from
from tests.testbed.deliveries import RecordingLink, pending, run_at_once
from tests.testbed.messages import MOMENT, command, event
from workers.config.groups import GroupSettings
from workers.power.desired_state import DesiredRow
from workers.power.intake import DeliveryHistory, Pending
from workers.power.node_work import Work
from workers.power.outbox import Outbox
from workers.power.pending_nodes import PendingNodes

if TYPE_CHECKING:
    from producers.message import Message

GROUP = GroupSettings(nodes="node1", cloud="main")
CAUSE = Cause("server_side", "HTTP 500: boom")
OLD = command(kind=Kind.SUSPEND, generation=MOMENT)
NEW = command(kind=Kind.RESUME, generation=MOMENT + 10**9)


def row(asked: PowerCommand) -> DesiredRow:
    return DesiredRow(asked.node, asked.desired, asked.generation, asked.id, None, "we", 60.0)


class Bench:
    """A board of one node, and what it publishes."""

    def __init__(self, wanted: PowerCommand, *waiting: Pending) -> None:
        self.link = RecordingLink()
        self.board = PendingNodes(Outbox(self.link.link, run_at_once), attempts=5)
        self.work = Work(wanted.node, "all", GROUP, row(wanted), began=MOMENT, look_after=0.0)
        self.work.pending = list(waiting)
        self.board.works[wanted.node] = self.work

    def sent(self, exchange: str) -> list[Message]:
        return [m for m in self.link.published if m.exchange.startswith(exchange)]

    def told(self) -> list[Transition]:
        return [event_from(parse(message.body)).transition for message in self.sent("power.events")]


def test_a_failed_attempt_sends_all_who_wait_to_the_next_tier() -> None:
    waiting = pending(NEW), pending(NEW, DeliveryHistory(attempt=1))
    bench = Bench(NEW, *waiting)
    bench.board.retry(bench.work, CAUSE)
    assert [m.exchange for m in bench.sent("power.retry")] == ["power.retry.5s", "power.retry.30s"]
    assert bench.told() == [Transition.RETRIED] * 2
    assert bench.board.works == {}
    assert bench.board.given_up == {"node1"}
    bench.link.answer_all()
    assert bench.link.acked == [request.delivery for request in waiting]


def test_the_last_attempt_is_the_end() -> None:
    bench = Bench(NEW, pending(NEW, DeliveryHistory(attempt=4)))
    bench.board.retry(bench.work, CAUSE)
    assert bench.link.published == []
    ending = bench.board.ending["node1"]
    assert (ending.transition, ending.cause) == (Transition.FAILED, CAUSE)


@pytest.mark.parametrize("old", [OLD, replace(NEW, generation=MOMENT)], ids=["opposite", "same"])
def test_an_old_request_s_last_attempt_takes_no_fresh_one_with_it(old: PowerCommand) -> None:
    bench = Bench(NEW, pending(old, DeliveryHistory(attempt=4)), pending(NEW))
    bench.board.retry(bench.work, CAUSE)
    assert bench.board.ending == {}
    assert [m.headers[headers.ATTEMPT] for m in bench.sent("power.retry")] == [5, 1]


def test_a_late_request_alone_has_its_own_attempts() -> None:
    bench = Bench(NEW, pending(OLD, DeliveryHistory(attempt=4)))
    bench.board.retry(bench.work, CAUSE)
    assert "node1" in bench.board.ending


def test_with_nobody_waiting_a_failed_attempt_only_gives_the_node_up() -> None:
    bench = Bench(NEW)
    bench.board.retry(bench.work, CAUSE)
    assert (bench.board.ending, bench.board.works) == ({}, {})


def test_parking_keeps_attempts_and_ends_nothing() -> None:
    bench = Bench(NEW, pending(NEW, DeliveryHistory(attempt=3)))
    bench.board.park(bench.work, CAUSE, "power.retry.30s")
    [message] = bench.sent("power.retry")
    assert message.exchange == "power.retry.30s"
    assert (message.headers[headers.ATTEMPT], message.headers[headers.PARKED]) == (3, 1)
    assert bench.told() == [Transition.PARKED]
    assert bench.board.works == {}


def test_while_a_call_is_under_way_nothing_is_parked() -> None:
    bench = Bench(NEW, pending(NEW))
    bench.work.calling = True
    bench.board.park(bench.work, CAUSE, "power.retry.30s")
    assert bench.link.published == []
    assert bench.board.works == {"node1": bench.work}


def test_what_was_found_out_for_another_generation_is_void() -> None:
    """A newer request must not end, nor burn an attempt, for what an older one has met."""
    bench = Bench(OLD, pending(OLD))
    bench.work.fault, bench.work.looks = CAUSE, 4
    bench.board.end(bench.work, Transition.FAILED, CAUSE, None)
    bench.board.follow(bench.work, row(NEW))
    [work] = bench.board.works.values()
    assert work.fault is None
    assert work.looks == 0
    assert bench.board.ending == {}
    assert bench.work.row == row(NEW)
    assert "node1" in bench.board.dirty


def test_a_repeat_of_the_same_generation_voids_nothing() -> None:
    bench = Bench(NEW, pending(NEW))
    bench.work.fault, bench.work.looks = CAUSE, 4
    bench.board.end(bench.work, Transition.FAILED, CAUSE, None)
    bench.board.follow(bench.work, row(NEW))
    assert (bench.work.fault, bench.work.looks) == (CAUSE, 4)
    assert "node1" in bench.board.ending


def test_when_all_is_taken_up_anew_a_call_under_way_stays_known() -> None:
    bench = Bench(NEW, pending(NEW))
    idle = Work("node2", "all", GROUP, row(NEW), began=MOMENT, look_after=0.0)
    bench.board.works["node2"] = idle
    bench.work.calling = True
    bench.board.clear()
    assert bench.board.works == {"node1": bench.work}
    assert bench.work.pending == []


def test_a_failure_that_stands_is_published_with_its_letter_and_one_that_completed_without() -> (
    None
):
    request = pending(NEW, DeliveryHistory(attempt=4))
    bench = Bench(NEW, request)
    stands = event(Transition.FAILED, NEW, cause=CAUSE).to_envelope().to_json()
    bench.board.publish_ending(request, stands)
    [letter] = bench.sent("power.dlx")
    assert (letter.body, letter.headers[headers.ATTEMPT]) == (request.delivery.body, 5)
    assert [message.body for message in bench.sent("power.events")] == [stands]

    done = Bench(NEW, request)
    stands = event(Transition.COMPLETED, NEW).to_envelope().to_json()
    done.board.publish_ending(request, stands)
    assert done.sent("power.dlx") == []
    assert [message.body for message in done.sent("power.events")] == [stands]
