"""Whom an event is for, what is sent, how it is signed, and what an answer means."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import headers
from schemas.events import Cause, Transition
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.deliveries import delivery
from tests.testbed.messages import MOMENT, event
from tests.testbed.strategies import words
from workers.config.webhooks import Webhook
from workers.notify.main import notifications_for
from workers.notify.verdict import Again, Answer, Dead, Taken, Verdict, backoff, judge
from workers.notify.webhook_request import (
    BadSecretError,
    WebhookRequest,
    opus_form,
    request,
    secrets_from,
    signed,
    tamed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.envelope import Envelope
    from workers.broker.link import Delivery

SECONDS = 10**9
DAY = 86400.0


def webhook(**more: object) -> Webhook:
    """As lamplighter.toml would have it."""
    raw = {"name": "one", "url": "https://example.org/hook", "events": ["failed"], **more}
    return msgspec.convert(raw, Webhook)


def opus() -> Webhook:
    return msgspec.convert({"name": "opus", "url": "http://o:80", "format": "opus"}, Webhook)


def failed_job(**more: object) -> JobEvent:
    known: dict[str, Any] = {
        "transition": JobTransition.FAILED,
        "cluster": "test",
        "job_id": 4711,
        "submitted_at": MOMENT // SECONDS * SECONDS,
        "time": MOMENT,
        "uws_id": "f755f0",
        "state": "NODE_FAIL",
        "nodes": ("node1",),
        "cause": Cause("quota", "used 10 of 10"),
    }
    return JobEvent(**{**known, **more})


def came_by(key: str, told: Envelope, raw: Mapping[str, Any] | None = None) -> Delivery:
    return replace(delivery(told.to_json(), raw), routing_key=key)


@pytest.mark.parametrize(
    ("asked", "key", "wanted"),
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
def test_a_webhook_hears_what_it_asks_for_in_the_brokers_own_way(
    asked: str, key: str, *, wanted: bool
) -> None:
    assert webhook(events=[asked]).asks_for(key) is wanted


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "No Name"}, "name"),
        ({"url": "ftp://example.org"}, "url"),
        ({"url": "https://me:secret@example.org"}, "password"),
        ({"events": []}, "events"),
        ({"events": ["no such thing"]}, "events"),
        ({"format": "opus"}, "events"),
        ({"uri": "x"}, "uri"),
    ],
)
def test_a_webhook_that_cannot_work_is_refused_and_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named) as caught:
        webhook(**wrong)
    assert "secret@" not in str(caught.value)


def test_what_is_signed_is_as_standard_webhooks_has_it() -> None:
    """The example of its specification's reference libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sent = WebhookRequest({"content-type": "application/json"}, b'{"test": 2432232314}')
    out = signed(sent, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, secrets_from(secret))
    assert out.headers == {
        "content-type": "application/json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_sign_both_and_a_bad_one_is_refused_unshown() -> None:
    good = base64.b64encode(b"x" * 32).decode()
    out = signed(WebhookRequest({}, b""), "id", 1, secrets_from(f"{good}\nwhsec_{good}\n"))
    assert len(out.headers["webhook-signature"].split()) == 2
    for bad in ("hunter2", base64.b64encode(b"short").decode()):
        with pytest.raises(BadSecretError) as caught:
            secrets_from(bad)
        assert bad not in str(caught.value)


def test_without_a_secret_the_id_is_told_all_the_same() -> None:
    assert signed(WebhookRequest({}, b""), "id", 1, ()).headers == {
        "webhook-id": "id",
        "webhook-timestamp": "1",
    }


def test_opus_is_told_as_it_expects_of_both_of_slurms_words() -> None:
    for state in ("NODE_FAIL", "BOOT_FAIL"):
        form = parse_qs(opus_form(failed_job(state=state)).decode())
        assert form == {
            "jobid": ["4711"],
            "phase": ["ERROR"],
            "error_msg": [
                f"{state}: node1 could not be started for this job (quota: used 10 of 10)"
            ],
        }


@given(words, st.integers(1, 2**63 - 1))
def test_hostile_words_stay_one_parameter_of_printable_ascii(text: str, job_id: int) -> None:
    cause = Cause("quota", text + "&phase=COMPLETED\r\nX: y")
    form = parse_qs(opus_form(failed_job(job_id=job_id, cause=cause)).decode("ascii"))
    assert set(form) == {"jobid", "phase", "error_msg"}
    assert (form["jobid"], form["phase"]) == ([str(job_id)], ["ERROR"])
    assert form["error_msg"][0].isascii()
    assert form["error_msg"][0].isprintable()
    assert len(form["error_msg"][0]) <= 400


def test_opus_hears_only_of_jobs_that_its_scripts_show() -> None:
    """It looks up by Slurm's id alone, which others may bear too."""
    for job, heard in (
        (failed_job(), True),
        (failed_job(uws_id=None), False),
        (failed_job(transition=JobTransition.IDENTIFIED), False),
    ):
        told = job.to_envelope()
        came = came_by(job.transition.routing_key, told)
        assert bool(notifications_for(came, told, [opus()], 1)) is heard


def test_what_is_sent_again_is_for_the_one_webhook_that_did_not_take_it() -> None:
    told = event(Transition.FAILED).to_envelope()
    hooks = [webhook(), webhook(name="two")]
    fresh = came_by("node.request.failed", told)
    assert [n.webhook for n in notifications_for(fresh, told, hooks, 1)] == ["one", "two"]
    raw = {headers.WEBHOOK: "two", headers.ROUND: 3}
    again = came_by("notify.again", told, raw)
    assert [(n.webhook, n.round) for n in notifications_for(again, told, hooks, 1)] == [("two", 3)]
    own = came_by("message.undelivered", told)
    assert notifications_for(own, told, [webhook(events=["#"])], 1) == []


def test_cloudevents_travel_byte_for_byte() -> None:
    told = event(Transition.FAILED).to_envelope()
    sent = request(webhook(), told, told.to_json())
    assert sent.body == told.to_json()
    assert sent.headers["content-type"].startswith("application/cloudevents+json")


def verdict(answer: Answer, *, left: float = DAY, attempt: int = 1, opus: bool = False) -> Verdict:
    return judge(answer, attempt=attempt, left=left, opus=opus)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(status, Taken) for status in (200, 201, 202, 204)],
        *[(status, Dead) for status in (301, 302, 304, 307, 400, 401, 403, 404, 410, 413, 422)],
        *[(status, Again) for status in (None, 408, 409, 425, 429, 500, 502, 503, 599)],
    ],
)
def test_each_answer_has_its_meaning(status: int | None, kind: type) -> None:
    assert isinstance(verdict(Answer(status)), kind)


def test_a_receiver_that_asks_for_time_gets_it() -> None:
    found = verdict(Answer(503, asked=120.0))
    assert isinstance(found, Again)
    assert found.seconds == 120


def test_it_is_given_up_when_the_next_try_would_come_too_late() -> None:
    assert isinstance(verdict(Answer(500), left=0.1), Dead)
    assert isinstance(verdict(Answer(429, asked=60.0), left=30.0), Dead)


def test_tries_come_ever_more_rarely_but_never_later_than_ten_minutes() -> None:
    assert 0.5 <= backoff(1) <= 1
    assert 8 <= backoff(5) <= 16
    assert 300 <= backoff(10**6) <= 600


def test_an_opus_job_that_has_ended_by_itself_needs_no_telling() -> None:
    said = "<pre>Job f755f0 cannot be updated to ERROR while in terminal phase COMPLETED</pre>"
    assert verdict(Answer(500, said), opus=True) == Taken(
        "Job f755f0 cannot be updated to ERROR while in terminal phase COMPLETED"
    )
    assert isinstance(verdict(Answer(500, said)), Again)


@given(words)
def test_a_receivers_words_are_cut_and_cannot_steer(text: str) -> None:
    found = verdict(Answer(400, "<style>x</style><b>" + text * 100))
    assert isinstance(found, Dead)
    assert found.cause.message.isprintable()
    assert len(found.cause.message) <= 420
    assert tamed("a\n\x1b[2Jb") == "a [2Jb"
