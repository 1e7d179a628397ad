"""A dead letter is always read, even if its headers or its body are malformed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.dead_letters.letter import letter_from
from schemas import headers
from schemas.commands import Kind
from tests.testbed.deliveries import delivery
from tests.testbed.messages import MOMENT, command, dead_letter
from tests.testbed.strategies import words

OURS = [value for name, value in vars(headers).items() if name.isupper()]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


def test_a_workers_letter_has_cause_attempts_and_round() -> None:
    request = command()
    sent = dead_letter(request, round_=3)
    letter = letter_from(replace(delivery(sent.body, sent.headers, key=sent.routing_key), tag=7))
    assert (letter.tag, letter.id, letter.command, letter.round) == (7, request.id, request, 3)
    assert (letter.cause.error, letter.died_in) == ("quota", "power.resume")
    assert letter.died_at == MOMENT // 1000 * 1000 + 20 * 10**9
    assert not letter.by_broker
    (failure,) = letter.failures
    assert (failure.attempt, failure.cause.error) == (1, "quota")


@pytest.mark.parametrize("kind", Kind)
def test_a_letter_of_the_broker_is_read_from_x_death(kind: Kind) -> None:
    request = command(kind=kind)
    queue = "power.resume" if kind is Kind.RESUME else "power.suspend"
    death = {"reason": "delivery_limit", "queue": queue, "time": datetime(2026, 1, 2, 3)}  # noqa: DTZ001 - as pika gives it
    letter = letter_from(delivery(request, {"x-death": [death]}))
    assert letter.by_broker
    assert letter.cause.error == "broker_delivery_limit"
    assert letter.died_in == queue
    assert letter.died_at == int(datetime(2026, 1, 2, 3, tzinfo=UTC).timestamp()) * 10**9
    bare = letter_from(delivery(request))
    assert (bare.died_in, bare.died_at, bare.round) == (queue, None, 1)


def test_a_malformed_letter_has_its_hash_as_id_and_the_problem() -> None:
    letter = letter_from(delivery(b"{"))
    assert letter.id.startswith("sha256:")
    assert letter.command is None
    assert letter.cause.error == "malformed"
    assert "not JSON" in letter.cause.message
    assert letter.id != letter_from(delivery(b"[")).id


@given(
    st.dictionaries(st.sampled_from([*OURS, "x-death"]), values),
    st.binary() | st.just(command().to_envelope().to_json()),
)
def test_letters_with_any_headers_are_read(raw: dict[str, object], body: bytes) -> None:
    letter = letter_from(delivery(body, raw))
    assert type(letter.round) is int
    assert 1 <= letter.round < 2**31
    assert letter.cause.error
    assert letter.died_in
