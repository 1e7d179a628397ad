"""From a delivery to a pending request: strict about the command, patient with the headers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import headers
from schemas.commands import Kind
from schemas.errors import MalformedMessageError
from schemas.events import Cause
from tests.testbed.deliveries import delivery, pending
from tests.testbed.messages import MOMENT, command
from workers.power import intake
from workers.power.intake import DeliveryHistory, past_from

CAUSE = Cause("server_side", "HTTP 500: boom")
NS = 1_000_000_000
SET = DeliveryHistory(
    attempt=2,
    round=3,
    parked=4,
    errors=({"attempt": 2, "time": "2026-01-02T03:04:05Z", "error": "x", "message": "y"},),
)


def test_a_command_is_read_with_its_past() -> None:
    asked = command()
    come = delivery(asked, SET.to_headers())
    read = intake.read(come, "test")
    assert (read.delivery, read.command, read.past) == (come, asked, SET)
    assert read.key == (asked.id, 3)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"\xff\xfe", "body"),
        (b"[" * 100_000, "body"),
        (b"[]", "body"),
        (b"{}", "specversion"),
        (command().to_envelope().to_json().replace(b"resume", b"reboot"), "type"),
        (command().to_envelope().to_json().replace(b'"node1"', b'"../etc"'), "subject"),
        (command().to_envelope().to_json().replace(b'"node1"', b'"node2"'), "id"),
    ],
)
def test_what_is_no_command_is_refused_with_the_field_at_fault(body: bytes, field: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        intake.read(delivery(body), "test")
    assert caught.value.field == field


def test_another_cluster_s_command_is_refused() -> None:
    with pytest.raises(MalformedMessageError, match="is cluster other, not test"):
        intake.read(delivery(command(cluster="other")), "test")


def test_without_headers_a_request_is_new() -> None:
    assert past_from({}) == DeliveryHistory(attempt=0, round=1, parked=0, errors=())


def test_a_past_travels_unchanged() -> None:
    assert past_from(SET.to_headers()) == SET


@pytest.mark.parametrize(
    "odd", [-1, 0.5, "1", True, None, b"1", [1], {}, Decimal(1), 10**7, 2**63, -(2**70)]
)
@pytest.mark.parametrize("name", [headers.ATTEMPT, headers.ROUND, headers.PARKED])
def test_an_odd_number_counts_as_never_set(name: str, odd: object) -> None:
    assert past_from({name: odd}) == DeliveryHistory()


def test_rounds_begin_with_one() -> None:
    assert past_from({headers.ROUND: 0}).round == 1


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        "",
        "{",
        "[" * 50_000,
        '{"a": 1}',
        '"text"',
        "1" * 5000,
        b"\xff",
        [{"attempt": 1}],
        f'[{{"message": "{"x" * 70_000}"}}]',
    ],
)
def test_odd_errors_count_as_never_set(odd: object) -> None:
    assert past_from({headers.ERRORS: odd}) == DeliveryHistory()


def test_what_is_no_error_among_errors_is_left_out() -> None:
    assert past_from({headers.ERRORS: '[1, {"error": "x"}, null]'}).errors == ({"error": "x"},)


# All that an AMQP 0-9-1 table can hold, as pika gives it.
fields = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=30)
    | st.binary(max_size=30)
    | st.decimals(allow_nan=False, places=2)
    | st.just(datetime(2026, 1, 2, tzinfo=UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
names = st.sampled_from([headers.ATTEMPT, headers.ROUND, headers.PARKED, headers.ERRORS, "x-death"])


@given(st.dictionaries(names, fields | st.text(alphabet='[]{}"0123456789:,x', max_size=20)))
@example({headers.ERRORS: '[{"x": NaN}]'})
def test_hostile_headers_never_stop_a_request(raw: dict[str, Any]) -> None:
    """However odd, they yield a past that can fail, travel and be read again."""
    failed = past_from(raw).failed(CAUSE, MOMENT)
    again = past_from(failed.to_headers())
    assert (again.attempt, again.round, again.parked) == (
        failed.attempt,
        failed.round,
        failed.parked,
    )
    assert again.errors[-1]["error"] == CAUSE.error


def test_a_failure_counts_and_is_kept_with_its_cause() -> None:
    failed = DeliveryHistory().failed(CAUSE, MOMENT)
    assert failed.attempt == 1
    assert failed.errors == (
        {
            "attempt": 1,
            "time": "2026-01-02T03:04:05.678901Z",
            "error": "server_side",
            "message": "HTTP 500: boom",
        },
    )


def test_headers_stay_within_a_frame_however_often_and_wordily_a_request_fails() -> None:
    past = DeliveryHistory()
    for _ in range(100):
        past = past_from(past.failed(Cause("server_side", "\u00e9" * 4000), MOMENT).to_headers())
    assert past.attempt == 100
    assert past.errors[-1]["attempt"] == 100
    assert len(json.dumps(past.to_headers())) < 100_000


NODES = {"node1": "main"}


def refused(generation: int, node: str = "node1", now: int = MOMENT) -> Cause | None:
    asked = command(node, generation=generation)
    return intake.refusal(pending(asked), NODES, 3600.0, now)


@pytest.mark.parametrize("ahead", [-(10**12), 0, 1, 3600 * NS])
def test_a_clock_a_little_wrong_is_borne(ahead: int) -> None:
    assert refused(MOMENT + ahead) is None


def test_a_generation_far_ahead_would_fence_off_all_that_follows_and_is_refused() -> None:
    cause = refused(MOMENT + 3600 * NS + 1)
    assert cause is not None
    assert cause.error == "implausible_generation"
    assert "mend the clock of controller" in cause.message


def test_a_node_of_no_group_is_refused_by_name() -> None:
    cause = refused(MOMENT, "node2")
    assert cause is not None
    assert cause.error == "unknown_node"
    assert cause.message.startswith("node2 is in no group")


@pytest.mark.parametrize("kind", Kind)
def test_all_kinds_are_read(kind: Kind) -> None:
    asked = replace(command(kind=kind), jobs=())
    assert intake.read(delivery(asked), "test").command == asked
