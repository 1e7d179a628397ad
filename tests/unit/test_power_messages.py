"""What the power worker publishes about a request, and where to."""

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
from workers.power import messages
from workers.power.intake import DeliveryHistory, past_from

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
def test_each_failed_attempt_rests_longer_than_the_one_before(failed: int, tier: str) -> None:
    waiting = pending(past=DeliveryHistory(attempt=failed))
    request, told = messages.retried(waiting, CAUSE, NOW)
    assert (request.exchange, request.routing_key) == (tier, waiting.delivery.routing_key)
    assert (request.body, request.id) == (waiting.delivery.body, waiting.command.id)
    assert past_from(request.headers) == waiting.past.failed(CAUSE, NOW)
    assert request.headers[headers.ATTEMPT] == failed + 1
    read = event_from(parse(told.body))
    assert (read.transition, read.attempt, read.cause) == (Transition.RETRIED, failed + 1, CAUSE)
    assert read.retry_in is not None
    assert read.retry_in == {"5s": 5, "30s": 30, "2m": 120, "10m": 600}[tier.rpartition(".")[2]]


def test_parking_costs_no_attempt_and_is_told_once_a_round() -> None:
    waiting = pending(past=DeliveryHistory(attempt=2, round=3))
    request, told = messages.parked(waiting, CAUSE, TIERS[1], NOW)
    assert request.exchange == TIERS[1]
    assert past_from(request.headers) == replace(waiting.past, parked=1)
    read = event_from(parse(told.body))
    assert (read.transition, read.round, read.attempt) == (Transition.PARKED, 3, 2)

    again = messages.parked(pending(past=past_from(request.headers)), CAUSE, TIERS[1], NOW)
    assert [message.exchange for message in again] == [TIERS[1]]
    assert again[0].headers[headers.PARKED] == 2


def test_a_dead_letter_is_the_request_as_it_came_with_what_it_died_of() -> None:
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


def test_a_cloud_s_words_that_are_no_text_still_travel() -> None:
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


def test_a_request_that_could_not_be_tried_fails_and_alarms() -> None:
    waiting = pending(past=DeliveryHistory(round=2, attempt=1))
    cause = Cause("unknown_node", "node1 is in no group")
    told = messages.refusal(waiting, cause, NOW)
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


def test_an_unreadable_message_is_told_of_by_where_and_what_not_by_its_words() -> None:
    come = delivery(b"{not json: hunter2")
    error = MalformedMessageError("body", "not JSON", "speak CloudEvents")
    notice = messages.rejected(come, "test", error, NOW)
    assert notice_from(notice.to_envelope()) == notice
    assert (notice.name, notice.subject) == ("message.rejected", "power.resume")
    assert notice.key == hashlib.sha256(come.body).hexdigest()
    assert notice.details == {"field": "body", "bytes": str(len(come.body))}
    assert b"hunter2" not in notice.to_envelope().to_json()
