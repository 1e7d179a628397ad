"""Messages: a round trip changes nothing, and a malformed message is rejected with a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.commands import Kind, PowerCommand, parse_command
from schemas.envelope import Envelope, parse, rfc3339
from schemas.errors import MalformedMessageError
from schemas.events import RequestEvent, Transition, event_from, transition_event
from schemas.fields import LONGEST_TEXT, fit
from schemas.notices import Notice, notice_from
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.strategies import commands, events, json_values, moments, notices

if TYPE_CHECKING:
    from collections.abc import Callable

READERS: list[Callable[[bytes], object]] = [
    parse_command,
    lambda body: event_from(parse(body)),
    lambda body: notice_from(parse(body)),
]


def received(text: str | None) -> str | None:
    """The text as it is received: cut, and None if it is empty."""
    return fit(text) if text else None


def as_received(original: RequestEvent) -> RequestEvent:
    names = (
        "origin",
        "note",
        "cloud",
        "server_id",
        "address",
        "image_id",
        "by",
        "reason",
    )
    texts: dict[str, Any] = {name: received(getattr(original, name)) for name in names}
    cause = original.cause
    return replace(
        original,
        jobs=tuple(
            replace(
                j,
                features=received(j.features),
                partition=received(j.partition),
                reservation=received(j.reservation),
            )
            for j in original.jobs
        ),
        cause=replace(cause, message=fit(cause.message)) if cause else None,
        **texts,
    )


@given(commands)
def test_a_command_comes_back_as_it_was_sent(sent: PowerCommand) -> None:
    back = parse_command(sent.to_envelope().to_json())
    jobs = tuple(
        replace(
            j,
            features=received(j.features),
            partition=received(j.partition),
            reservation=received(j.reservation),
        )
        for j in sent.jobs
    )
    assert back == replace(sent, jobs=jobs, note=received(sent.note))
    assert back.id == sent.id


@given(events)
def test_an_event_comes_back_as_it_was_sent(original: RequestEvent) -> None:
    back = event_from(parse(original.to_envelope().to_json()))
    assert back == as_received(original)
    assert back.id == original.id


@given(notices)
def test_a_notice_comes_back_as_it_was_sent(original: Notice) -> None:
    back = notice_from(parse(original.to_envelope().to_json()))
    assert back == replace(
        original,
        message=fit(original.message),
        remedy=fit(original.remedy),
        details={name: fit(value) for name, value in original.details.items()},
    )


@given(moments)
def test_a_time_comes_back_to_the_microsecond(moment: int) -> None:
    envelope = replace(command().to_envelope(), time=moment)
    assert parse(envelope.to_json()).time == moment
    assert rfc3339(moment).endswith("Z")


@pytest.mark.parametrize("read", READERS)
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
@example(b"1" * 5000)
@example(b"[" * 100_000)
@example(b'{"specversion": NaN}')
@example(b"\xff\xfe")
def test_bytes_and_json_that_are_not_a_message_are_rejected_with_a_reason(
    read: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(MalformedMessageError) as rejection:
        read(body)
    assert rejection.value.field
    assert rejection.value.remedy
    assert len(str(rejection.value)) < 1000


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all values in a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict):
        for name in value:
            found += _paths(value[name], (*path, name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            found += _paths(item, (*path, place))
    return found


def changed(whole: Envelope, data: st.DataObject) -> bytes:
    """The message with one value replaced or removed."""
    raw = json.loads(whole.to_json())
    path = data.draw(st.sampled_from(_paths(raw)))
    holder: Any = raw
    for step in path[:-1]:
        holder = holder[step]
    if data.draw(st.booleans()):
        del holder[path[-1]]
    else:
        holder[path[-1]] = data.draw(json_values)
    return json.dumps(raw).encode()


@given(commands | events | notices, st.data())
def test_a_damaged_message_is_read_or_rejected_with_a_reason(
    whole: PowerCommand | RequestEvent | Notice, data: st.DataObject
) -> None:
    body = changed(whole.to_envelope(), data)
    for read in READERS:
        try:
            read(body)
        except MalformedMessageError as rejection:
            assert rejection.problem  # noqa: PT017 - it may also be read


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("specversion",), "0.3", "specversion"),
        (("source",), "two words", "source"),
        (("generation",), 1, "generation"),
        (("generation",), "9999999999999999999", "generation"),
        (("generation",), "0", "generation"),
        (("time",), "2026-01-02", "time"),
        (("time",), "2026-01-02T03:04:05", "time"),
        (("time",), "2026-13-02T03:04:05Z", "time"),
        (("time",), "2300-01-01T00:00:00Z", "time"),
        (("time",), "1969-12-31T23:59:59Z", "time"),
        (("expirytime",), None, "expirytime"),
        (("id",), "x" * 256, "id"),
        (("id",), "another", "id"),
        (("subject",), "node1; rm -rf /", "subject"),
        (("subject",), "n\x00", "subject"),
        (("correlationid",), "0" * 31, "correlationid"),
        (("datacontenttype",), "text/plain", "datacontenttype"),
        (("type",), "lamplighter.node.explode.requested.v1", "type"),
        (("data",), [], "data"),
        (("data", "origin"), "", "data.origin"),
        (("data", "jobs"), [1], "data.jobs"),
        (("data", "jobs", 0, "job_id"), True, "data.jobs[0].job_id"),
        (("data", "jobs", 0, "job_id"), 0, "data.jobs[0].job_id"),
        (("data", "jobs", 0, "job_id"), 2**63, "data.jobs[0].job_id"),
    ],
)
def test_the_error_names_the_field(path: tuple[str | int, ...], value: object, field: str) -> None:
    raw = json.loads(command().to_envelope().to_json())
    holder: Any = raw
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    with pytest.raises(MalformedMessageError) as rejection:
        parse_command(json.dumps(raw).encode())
    assert rejection.value.field == field


@pytest.mark.parametrize("image", [None, "", " \x1b[2J", "x" * 256, 7, ["a"]])
def test_a_bake_names_its_image_in_printable_characters(image: object) -> None:
    raw = json.loads(command(kind=Kind.BAKE).to_envelope().to_json())
    assert parse_command(json.dumps(raw).encode()).image == "prepared"
    raw["data"]["image"] = image
    with pytest.raises(MalformedMessageError, match=r"data\.image"):
        parse_command(json.dumps(raw).encode())


def test_all_outcomes_of_a_round_share_one_id_and_no_other_step_does() -> None:
    ids = {transition: event(transition).id for transition in Transition}
    outcomes = {ids[transition] for transition in Transition if transition.terminal}
    assert len(outcomes) == 1
    assert len(set(ids.values())) == 1 + sum(not transition.terminal for transition in Transition)
    assert event(Transition.COMPLETED, round_=2).id not in outcomes


def test_each_failed_attempt_has_one_event_id() -> None:
    sent = command()
    ids = {
        transition_event(sent, Transition.RETRIED, round_=1, time=MOMENT, attempt=attempt).id
        for attempt in (1, 2, 2)
    }
    assert len(ids) == 2


def test_a_request_has_the_same_id_each_time_it_is_sent_and_no_two_requests_share_one() -> None:
    assert command().id == command(jobs=()).id
    assert len({command(f"node{i}").id for i in range(1000)}) == 1000
    assert command().id != command(generation=MOMENT + 1_000_000).id


def test_text_that_is_too_long_is_cut_and_ends_in_dots() -> None:
    assert fit("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT
    assert fit("x" * (LONGEST_TEXT + 1)) == "x" * (LONGEST_TEXT - 3) + "..."
