"""What the power worker publishes about a request, and to which exchange."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from schemas import headers
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Cause, Transition, event_from
from schemas.notices import notice_from
from tests.testbed.deliveries import delivery, pending
from tests.testbed.messages import MOMENT, command, event
from workers.broker import outgoing
from workers.broker.delivery import DeliveryHistory, history_from
from workers.power import messages

NOW = MOMENT + 10**9
CAUSE = Cause("server_side", "HTTP 500: boom")
TIERS = ["power.retry.5s", "power.retry.30s", "power.retry.2m", "power.retry.10m"]


def test_the_accepted_event_carries_the_command() -> None:
    asked = command()
    told = event_from(parse(messages.accepted(pending(asked), NOW).body))
    assert told.transition is Transition.ACCEPTED
    assert (told.request_id, told.generation, told.jobs) == (asked.id, asked.generation, asked.jobs)
    assert (told.origin, told.expiry) == (asked.origin, asked.expiry)


@pytest.mark.parametrize(
    ("failed", "tier"), [*enumerate(TIERS), (4, TIERS[-1]), (40, TIERS[-1])], ids=str
)
def test_each_failed_attempt_goes_to_a_longer_tier_until_the_last(failed: int, tier: str) -> None:
    waiting = pending(history=DeliveryHistory(attempt=failed))
    chosen, (request, told) = messages.retried(waiting, CAUSE, NOW)
    assert chosen == tier
    assert (request.exchange, request.routing_key) == (tier, waiting.delivery.routing_key)
    assert (request.body, request.id) == (waiting.delivery.body, waiting.id)
    assert history_from(request.headers) == waiting.history.failed(CAUSE, NOW)
    assert request.headers[headers.ATTEMPT] == failed + 1
    read = event_from(parse(told.body))
    assert (read.transition, read.attempt, read.cause) == (Transition.RETRIED, failed + 1, CAUSE)
    assert read.retry_in is not None
    assert read.retry_in == {"5s": 5, "30s": 30, "2m": 120, "10m": 600}[tier.rpartition(".")[2]]


def test_parking_costs_no_attempt_and_is_reported_once_a_round() -> None:
    waiting = pending(history=DeliveryHistory(attempt=2, round=3))
    request, told = messages.parked(waiting, CAUSE, TIERS[1], NOW)
    assert request.exchange == TIERS[1]
    assert history_from(request.headers) == replace(waiting.history, parked=1)
    read = event_from(parse(told.body))
    assert (read.transition, read.round, read.attempt) == (Transition.PARKED, 3, 2)

    again = messages.parked(
        pending(history=history_from(request.headers)), CAUSE, TIERS[1], NOW, told=True
    )
    assert [message.exchange for message in again] == [TIERS[1]]
    assert again[0].headers[headers.PARKED] == 2


def test_a_dead_letter_is_the_request_as_it_came_with_its_final_cause() -> None:
    come = delivery(command(kind=Kind.SUSPEND), {"x-death": "foreign"})
    letter = messages.dead_letter(come, DeliveryHistory().failed(CAUSE, NOW), CAUSE, NOW)
    assert letter.exchange == "power.dlx"
    assert (letter.body, letter.routing_key, letter.id) == (
        come.body,
        "node.suspend.requested",
        come.message_id,
    )
    assert letter.headers == {
        headers.ATTEMPT: 1,
        headers.ROUND: 1,
        headers.PARKED: 0,
        headers.ERRORS: (
            '[{"attempt":1,"time":"2026-01-02T03:04:06.678901Z",'
            '"error":"server_side","message":"HTTP 500: boom"}]'
        ),
        headers.DIED_IN: "power.suspend",
        headers.CAUSE: "server_side",
        headers.CAUSE_MESSAGE: "HTTP 500: boom",
        headers.DIED_AT: "2026-01-02T03:04:06.678901Z",
    }


def test_a_cause_with_broken_unicode_is_still_published() -> None:
    letter = messages.dead_letter(delivery(), DeliveryHistory(), Cause("x", "\ud800 \u00e9"), NOW)
    assert letter.headers[headers.CAUSE_MESSAGE] == "? \u00e9"


def test_a_stored_outcome_is_published_byte_for_byte() -> None:
    body = event(Transition.COMPLETED).to_envelope().to_json()
    told, message = outgoing.stored(body)
    assert told.transition is Transition.COMPLETED
    assert (message.exchange, message.routing_key, message.id, message.body) == (
        "power.events",
        "node.request.completed",
        told.id,
        body,
    )


def test_a_request_that_cannot_be_tried_fails_and_raises_an_alarm() -> None:
    waiting = pending(history=DeliveryHistory(round=2, attempt=1))
    cause = Cause("unknown_node", "node1 is in no group")
    told = messages.about(waiting, Transition.FAILED, waiting.history, NOW, cause=cause)
    assert (told.transition, told.round, told.attempt, told.cause) == (
        Transition.FAILED,
        2,
        1,
        cause,
    )
    alarm = messages.refused(waiting, cause, NOW)
    assert notice_from(alarm.to_envelope()) == alarm
    assert (alarm.routing_key, alarm.subject) == ("alarm.request_refused", "node1")
    assert alarm.id == messages.refused(waiting, cause, NOW + 1).id


def test_the_notice_of_an_unreadable_message_does_not_repeat_its_body() -> None:
    come = delivery(b"{not json: hunter2")
    error = MalformedMessageError("body", "not JSON", "speak CloudEvents")
    notice = messages.rejected(come, "test", error, NOW)
    assert notice_from(notice.to_envelope()) == notice
    assert (notice.name, notice.subject) == ("message.rejected", "power.resume")
    assert notice.key == hashlib.sha256(come.body).hexdigest()
    assert notice.details == {"field": "body", "bytes": str(len(come.body))}
    assert b"hunter2" not in notice.to_envelope().to_json()


def test_the_events_of_a_dry_run_are_marked() -> None:
    waiting = pending(dry_run=True)
    told = messages.about(waiting, Transition.SUPERSEDED, waiting.history, NOW, cause=CAUSE)
    assert told.dry_run
    assert event_from(told.to_envelope()).dry_run
