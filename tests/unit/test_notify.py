"""Notifications: which webhooks get an event, the request and its signature, and what a response means."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given

from schemas import headers
from schemas.events import Transition
from schemas.jobs import JobTransition
from tests.testbed.deliveries import delivery
from tests.testbed.messages import MOMENT, event
from tests.testbed.opus_jobs import opus_job
from tests.testbed.strategies import words
from workers.config.webhooks import Webhook
from workers.notify.main import notifications_for
from workers.notify.verdict import (
    Delivered,
    Response,
    RetryLater,
    Undeliverable,
    Verdict,
    backoff,
    judge,
)
from workers.notify.webhook_request import (
    BadSecretError,
    WebhookRequest,
    cloudevent,
    printable,
    secrets_from,
    signed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.envelope import Envelope
    from workers.broker.delivery import Delivery

SECONDS = 10**9
DAY = 86400.0


def webhook(**more: object) -> Webhook:
    """A webhook, converted from the form that lamplighter.toml has."""
    raw = {"name": "one", "url": "https://example.org/hook", "events": ["failed"], **more}
    return msgspec.convert(raw, Webhook)


def opus(**more: object) -> Webhook:
    raw = {"name": "opus", "url": "http://127.0.0.1:80", "format": "opus", **more}
    return msgspec.convert(raw, Webhook)


def delivered_as(key: str, envelope: Envelope, raw: Mapping[str, Any] | None = None) -> Delivery:
    return replace(delivery(envelope.to_json(), raw), routing_key=key)


@pytest.mark.parametrize(
    ("pattern", "key", "wanted"),
    [
        ("failed", "node.request.failed", True),
        ("failed", "node.request.completed", False),
        ("lamplighter.job.failed.v1", "job.failed", True),
        ("alarm.#", "alarm.token.expiry", True),
        ("alarm.#", "alarm", True),
        ("node.request.*", "node.request.failed", True),
        ("node.*", "node.request.failed", False),
        ("#", "message.rejected", True),
        ("#.failed", "job.failed", True),
    ],
)
def test_event_patterns_match_as_topic_bindings_of_the_broker(
    pattern: str, key: str, *, wanted: bool
) -> None:
    assert webhook(events=[pattern]).subscribes_to(key) is wanted


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "No Name"}, "name"),
        ({"url": "ftp://example.org"}, "url"),
        ({"url": "https://me:secret@example.org"}, "password"),
        ({"events": []}, "events"),
        ({"events": ["no such thing"]}, "events"),
        *(
            ({"events": ["failed", event]}, f"no event is called '{event}': write accepted, ")
            for event in (
                "faild",
                "failde",
                "alarms.#",
                "zz.#",
                "job",
                "alarm",
                "job.faild",
                "node.*.faild",
                "node.request",
            )
        ),
        ({"events": ["lamplighter.job.faild.v1"]}, "no event is called 'job.faild'"),
        ({"format": "opus"}, "events"),
        ({"format": "opus", "events": ["job.#"]}, "events"),
        ({"uri": "x"}, "uri"),
    ],
)
def test_an_invalid_webhook_is_rejected_and_its_field_named(
    wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=named) as caught:
        webhook(**wrong)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    "event",
    [
        *(each.routing_key for each in (*Transition, *JobTransition)),
        *("node.registered", "alarm.token", "hold.placed", "clock.reset", "message.rejected"),
        *("#", "*.failed", "node.#", "node.*", "job.*", "alarm.*", "group.#", "node.request.*"),
    ],
)
def test_a_webhook_can_subscribe_to_each_event_that_there_is(event: str) -> None:
    assert webhook(events=[event]).keys == (event,)


def test_a_later_version_of_a_subscribed_type_is_sent_too() -> None:
    """Its routing key has no version, so it gets into the queue: it must not die there as not subscribed."""
    for events in (["failed"], ["lamplighter.node.request.failed.v1"], ["node.#"]):
        assert webhook(events=events).wants("lamplighter.node.request.failed.v2")
    assert not webhook(events=["completed"]).wants("lamplighter.node.request.failed.v2")


def test_the_signature_follows_standard_webhooks() -> None:
    """The example of the specification's reference libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sent = WebhookRequest({"content-type": "application/json"}, b'{"test": 2432232314}')
    out = signed(sent, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, secrets_from(secret))
    assert out.headers == {
        "content-type": "application/json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_secret_signs_and_a_bad_one_is_rejected_without_showing_it() -> None:
    good = base64.b64encode(b"x" * 32).decode()
    out = signed(WebhookRequest({}, b""), "id", 1, secrets_from(f"{good}\nwhsec_{good}\n"))
    assert len(out.headers["webhook-signature"].split()) == 2
    for bad in ("hunter2", base64.b64encode(b"short").decode()):
        with pytest.raises(BadSecretError) as caught:
            secrets_from(bad)
        assert bad not in str(caught.value)


def test_without_a_secret_id_and_timestamp_are_sent_unsigned() -> None:
    assert signed(WebhookRequest({}, b""), "id", 1, ()).headers == {
        "webhook-id": "id",
        "webhook-timestamp": "1",
    }


def test_opus_gets_only_jobs_that_its_scripts_submitted() -> None:
    """OPUS finds jobs by Slurm's job id alone, and other jobs may have the same id."""
    waiting = opus_job(transition=JobTransition.WAITING, returns_at=MOMENT // SECONDS * SECONDS)
    for job, sent in (
        (opus_job(), True),
        (opus_job(transition=JobTransition.FINISHED), True),
        (opus_job(uws_id=None), False),
        (opus_job(transition=JobTransition.IDENTIFIED), False),
        (waiting, False),
    ):
        envelope = job.to_envelope()
        message = delivered_as(job.transition.routing_key, envelope)
        assert bool(notifications_for(message, envelope, [opus()], 1)) is sent
    message = delivered_as(waiting.routing_key, waiting.to_envelope())
    wants = opus(events=["job.waiting"])
    assert notifications_for(message, waiting.to_envelope(), [wants], 1)


def test_a_replayed_notification_goes_only_to_the_webhook_that_failed() -> None:
    envelope = event(Transition.FAILED).to_envelope()
    hooks = [webhook(), webhook(name="two")]
    fresh = delivered_as("node.request.failed", envelope)
    assert [n.webhook for n in notifications_for(fresh, envelope, hooks, 1)] == ["one", "two"]
    raw = {headers.WEBHOOK: "two", headers.ROUND: 3}
    again = delivered_as("notify.again", envelope, raw)
    assert [(n.webhook, n.round) for n in notifications_for(again, envelope, hooks, 1)] == [
        ("two", 3)
    ]
    own = delivered_as("message.undelivered", envelope)
    assert notifications_for(own, envelope, [webhook(events=["#"])], 1) == []


def test_cloudevents_are_sent_byte_for_byte() -> None:
    envelope = event(Transition.FAILED).to_envelope()
    sent = cloudevent(envelope.to_json())
    assert sent.body == envelope.to_json()
    assert sent.headers["content-type"].startswith("application/cloudevents+json")


def verdict(
    response: Response, *, left: float = DAY, attempt: int = 1, opus: bool = False
) -> Verdict:
    return judge(response, attempt=attempt, left=left, opus=opus)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(status, Delivered) for status in (200, 201, 202, 204)],
        *[
            (status, Undeliverable)
            for status in (301, 302, 304, 307, 400, 401, 403, 404, 410, 413, 422)
        ],
        *[(status, RetryLater) for status in (None, 408, 409, 425, 429, 500, 502, 503, 599)],
    ],
)
def test_each_status_has_its_verdict(status: int | None, kind: type) -> None:
    assert isinstance(verdict(Response(status)), kind)


def test_retry_after_is_honoured() -> None:
    found = verdict(Response(503, retry_after=120.0))
    assert isinstance(found, RetryLater)
    assert found.seconds == 120


def test_a_notification_is_given_up_when_the_next_attempt_would_be_too_late() -> None:
    assert isinstance(verdict(Response(500), left=0.1), Undeliverable)
    assert isinstance(verdict(Response(429, retry_after=60.0), left=30.0), Undeliverable)


def test_backoff_grows_to_at_most_ten_minutes() -> None:
    assert 0.5 <= backoff(1) <= 1
    assert 8 <= backoff(5) <= 16
    assert 300 <= backoff(10**6) <= 600


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "Job f755f0 cannot be updated to ERROR while in terminal phase COMPLETED"),
        (500, "Phase is already ABORTED"),
        (404, "Job with process_id=4711 NOT FOUND"),
    ],
)
def test_opus_refusing_a_job_that_has_ended_or_is_deleted_counts_as_delivered(
    status: int, words: str
) -> None:
    assert verdict(Response(status, f"<pre>{words}</pre>"), opus=True) == Delivered(words)
    assert not isinstance(verdict(Response(status, words)), Delivered)
    assert not isinstance(verdict(Response(status, "Not found: '/x'"), opus=True), Delivered)


@given(words)
def test_a_response_text_is_truncated_and_has_no_control_characters(text: str) -> None:
    found = verdict(Response(400, "<style>x</style><b>" + text * 100))
    assert isinstance(found, Undeliverable)
    assert found.cause.message.isprintable()
    assert len(found.cause.message) <= 420
    assert printable("a\n\x1b[2Jb\u202e\ud800") == "a [2Jb"
    assert printable("Quota\u2028dépassé: 配額 €") == "Quota dépassé: 配額 €"
