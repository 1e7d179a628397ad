"""Reading a delivery: the command is parsed strictly, odd headers are ignored."""

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
from tests.testbed.deliveries import delivery
from tests.testbed.messages import MOMENT, command
from workers.broker.delivery import DeliveryHistory, history_from
from workers.power import intake

CAUSE = Cause("server_side", "HTTP 500: boom")
SET = DeliveryHistory(
    attempt=2,
    round=3,
    parked=4,
    errors=({"attempt": 2, "time": "2026-01-02T03:04:05Z", "error": "x", "message": "y"},),
)


def test_a_command_is_read_with_its_history() -> None:
    asked = command()
    come = delivery(asked, SET.to_headers())
    read = intake.read(come, "test", MOMENT, 0.0)
    assert (read.delivery, read.command, read.history) == (come, asked, SET)
    assert (read.id, read.key) == (asked.id, (asked.id, 3))


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
def test_a_body_that_is_not_a_command_is_refused_and_the_field_named(
    body: bytes, field: str
) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        intake.read(delivery(body), "test", MOMENT, 0.0)
    assert caught.value.field == field


def test_a_command_of_another_cluster_is_refused() -> None:
    with pytest.raises(MalformedMessageError, match="is cluster other, not test"):
        intake.read(delivery(command(cluster="other")), "test", MOMENT, 0.0)


def test_a_request_without_headers_is_new() -> None:
    assert history_from({}) == DeliveryHistory(attempt=0, round=1, parked=0, errors=())


def test_a_history_travels_in_headers_unchanged() -> None:
    assert history_from(SET.to_headers()) == SET


@pytest.mark.parametrize(
    "odd", [-1, 0.5, "1", True, None, b"1", [1], {}, Decimal(1), 10**7, 2**63, -(2**70)]
)
@pytest.mark.parametrize("name", [headers.ATTEMPT, headers.ROUND, headers.PARKED])
def test_an_odd_number_in_a_header_is_ignored(name: str, odd: object) -> None:
    assert history_from({name: odd}) == DeliveryHistory()


def test_rounds_start_at_one() -> None:
    assert history_from({headers.ROUND: 0}).round == 1


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
def test_an_odd_list_of_errors_is_ignored(odd: object) -> None:
    assert history_from({headers.ERRORS: odd}) == DeliveryHistory()


def test_only_objects_in_the_list_of_errors_count() -> None:
    assert history_from({headers.ERRORS: '[1, {"error": "x"}, null]'}).errors == ({"error": "x"},)


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
    """The history that they give can fail once more, travel and be read again."""
    failed = history_from(raw).failed(CAUSE, MOMENT)
    again = history_from(failed.to_headers())
    assert (again.attempt, again.round, again.parked) == (
        failed.attempt,
        failed.round,
        failed.parked,
    )
    assert again.errors[-1]["error"] == CAUSE.error


def test_a_failed_attempt_counts_and_keeps_its_cause() -> None:
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


def test_headers_fit_into_a_frame_after_many_failures_with_long_messages() -> None:
    history = DeliveryHistory()
    for _ in range(100):
        history = history_from(
            history.failed(Cause("server_side", "\u00e9" * 4000), MOMENT).to_headers()
        )
    assert history.attempt == 100
    assert history.errors[-1]["attempt"] == 100
    assert len(json.dumps(history.to_headers())) < 100_000


@pytest.mark.parametrize("kind", Kind)
def test_commands_of_all_kinds_are_read(kind: Kind) -> None:
    asked = replace(command(kind=kind), jobs=())
    assert intake.read(delivery(asked), "test", MOMENT, 0.0).command == asked


def test_a_request_for_a_node_in_a_dry_run_is_marked() -> None:
    asked = delivery(command("node1")), delivery(command("node2"))
    read = [intake.read(one, "test", MOMENT, 0.0, lambda node: node == "node2") for one in asked]
    assert [request.dry_run for request in read] == [False, True]


def test_a_request_has_rested_if_it_comes_late_or_again_or_from_the_future() -> None:
    """A slurmctld that is killed within seconds of its call has forgotten it when it is back."""

    def rested(age: float, history: DeliveryHistory | None = None, *, again: bool = False) -> bool:
        come = delivery(command(), (history or DeliveryHistory()).to_headers())
        at = MOMENT + int(age * 10**9)
        return intake.read(replace(come, redelivered=again), "test", at, 0.0).rested

    assert rested(-60.0)  # the hooks' clock was set back: nobody knows its age
    assert not rested(-9.0)  # clocks that differ
    assert not rested(0.0)
    assert rested(11.0)
    assert rested(0.0, again=True)
    assert rested(0.0, DeliveryHistory(parked=1))
    assert rested(0.0, DeliveryHistory(attempt=1))


@pytest.mark.parametrize("kind", [Kind.RESUME, Kind.SUSPEND])
def test_the_age_of_a_call_is_that_of_its_time_not_of_its_generation(kind: Kind) -> None:
    """After the hooks' clock was set back, generations are ahead: a late suspend seemed to come at once.

    slurmctld, killed right after its call, had given the node a job meanwhile.
    """
    asked = replace(command(kind=kind), called=MOMENT - 12 * 10**9)
    assert intake.read(delivery(asked), "test", MOMENT + 10**9, 0.0).rested
    ahead = replace(command(kind=kind), called=MOMENT - 45 * 10**9)
    assert not intake.read(delivery(ahead), "test", ahead.called + 10**9, 0.0).rested
