"""The short parser of outcomes agrees with the complete one, and names records that cannot be parsed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given

from ops.report.outcome import Recorded, outcome
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import CloudAction, RequestEvent, Transition, event_from
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.outcomes import outcome_of
from tests.testbed.strategies import events
from workers.audit.record import record_of

DONE = replace(
    event(Transition.COMPLETED, command(jobs=(9, 7, 7)), time=MOMENT + 10**9),
    cloud="sbg",
    actions=(CloudAction("os-start", "s", MOMENT, "done"),),
)


def recorded(event_: RequestEvent, body: bytes | None = None) -> Recorded:
    """The event as the audit stores it; optionally with another body."""
    kept = record_of(event_.to_envelope().to_json(), "test", 0)
    assert kept.transition is not None
    assert kept.subject is not None
    assert kept.generation is not None
    body = kept.body if body is None else body
    return Recorded(17, kept.transition, kept.subject, kept.generation, kept.time, body)


def damaged(**fields: object) -> bytes:
    """The body of DONE with other `data`."""
    body = json.loads(DONE.to_envelope().to_json())
    body["data"] |= fields
    return json.dumps(body).encode()


@given(events.filter(lambda event_: event_.transition.terminal))
def test_the_short_parser_agrees_with_the_complete_parser(event_: RequestEvent) -> None:
    whole = event_from(parse(event_.to_envelope().to_json()))
    assert outcome(recorded(event_)) == outcome_of(whole)


def test_each_job_counts_once() -> None:
    assert outcome(recorded(DONE)).jobs == (7, 9)


def test_a_cloud_without_a_name_is_no_cloud_as_in_the_audit() -> None:
    body = damaged(cloud="")
    assert record_of(body, "test", 0).transition is not None
    assert outcome(recorded(DONE, body)).cloud is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff" + DONE.to_envelope().to_json(),
        DONE.to_envelope().to_json()[:-1],
        DONE.to_envelope().to_json().replace(b"gpu", b"g\xffu"),
        damaged(kind="light"),
        damaged(jobs=[{"job_id": -1}]),
        damaged(jobs=None),
        damaged(actions=[{"action": "os-start", "server_id": "s", "time": "1", "result": "done"}]),
        damaged(
            actions=[{"action": "os-start", "server_id": "s", "time": 2**63, "result": "done"}]
        ),
        damaged(actions=[{"action": "os-start", "server_id": "s", "result": "done"}]),
        damaged(cloud=7),
    ],
)
def test_a_malformed_record_is_named(body: bytes) -> None:
    with pytest.raises(MalformedMessageError, match=r"record 17: .*audit verify"):
        outcome(recorded(DONE, body))


@pytest.mark.parametrize(
    "other",
    [
        replace(DONE, node="node2"),
        replace(DONE, transition=Transition.FAILED),
        replace(DONE, generation=DONE.generation + 1),
        replace(DONE, node="node2", note="\ud800"),
    ],
)
def test_a_body_of_another_record_is_named(other: RequestEvent) -> None:
    with pytest.raises(
        MalformedMessageError, match="record 17: its body does not match its columns"
    ):
        outcome(recorded(DONE, other.to_envelope().to_json()))
