"""What each error of a cloud, a network or the token service means: every row of the one table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.clouds.errors import CloudError, ImageLostError, ImageNotReadyError, Then, classify
from workers.errors import (
    LamplighterError,
    TokenError,
    TokenRefusedError,
    TokenServiceAwayError,
)

QUOTA = "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"

ANSWERS = [
    (400, "bad_request", Then.REJECT),
    (401, "unauthorized", Then.PARK),
    (402, "refused", Then.REJECT),
    (403, "forbidden", Then.REJECT),
    (404, "not_found", Then.LOOK),
    (405, "refused", Then.REJECT),
    (408, "timeout", Then.PROBE),
    (409, "conflict", Then.LOOK),
    (410, "refused", Then.REJECT),
    (413, "over_limit", Then.SLOW_DOWN),
    (422, "refused", Then.REJECT),
    (429, "over_limit", Then.SLOW_DOWN),
    (500, "server_side", Then.PROBE),
    (501, "server_side", Then.PROBE),
    (502, "server_side", Then.PROBE),
    (503, "server_side", Then.PROBE),
    (504, "server_side", Then.PROBE),
]


@pytest.mark.parametrize(("status", "error", "then"), ANSWERS)
def test_an_answer_is_classed_by_its_status(status: int, error: str, then: Then) -> None:
    verdict = classify(CloudError(status, "so it said"))
    assert (verdict.cause.error, verdict.then) == (error, then)
    assert verdict.cause.message == f"HTTP {status}: so it said"


OTHERS: list[tuple[LamplighterError, str, Then]] = [
    (CloudError(403, QUOTA), "quota", Then.REJECT),
    (CloudError(503, "busy", retry_after=7), "over_limit", Then.SLOW_DOWN),
    (CloudError(None, "reset by peer"), "network", Then.PROBE),
    (CloudError(None, "no answer in 20 s", timed_out=True), "network", Then.PROBE),
    (TokenServiceAwayError("nobody answered"), "token_service_away", Then.HOLD),
    (TokenRefusedError("invalid_grant", "revoked", permanent=True), "invalid_grant", Then.PARK),
    (TokenRefusedError("provider_away", "503", permanent=False), "provider_away", Then.PARK),
    (TokenError("something else"), "token", Then.PARK),
    (LamplighterError("no one knows"), "unknown", Then.PROBE),
]


@pytest.mark.parametrize(("error", "name", "then"), OTHERS)
def test_what_is_no_plain_answer_is_classed_by_its_kind(
    error: LamplighterError, name: str, then: Then
) -> None:
    verdict = classify(error)
    assert (verdict.cause.error, verdict.then) == (name, then)


@pytest.mark.parametrize(
    ("status", "answered"),
    [
        (None, False),
        (408, False),
        (502, False),
        (504, False),
        (500, True),
        (503, True),
        (409, True),
    ],
)
def test_what_a_gateway_or_nobody_has_said_leaves_open_whether_the_call_takes_effect(
    status: int | None,
    answered: bool,  # noqa: FBT001
) -> None:
    assert CloudError(status, "so it said").answered is answered


@given(status=st.integers(400, 599), message=st.text(max_size=20), rest=st.none() | st.just(1.0))
def test_only_an_answer_that_blames_the_request_rejects_it(
    status: int, message: str, rest: float | None
) -> None:
    """An outage, however it looks, never leads straight to a dead letter."""
    verdict = classify(CloudError(status, message, retry_after=rest))
    if verdict.then is Then.REJECT:
        assert 400 <= status < 500
        assert status not in {401, 408, 409, 429}


def test_an_image_that_is_being_saved_is_looked_for_again_and_a_lost_one_ends_the_request() -> None:
    waits, lost = classify(ImageNotReadyError("it is saving")), classify(ImageLostError("gone"))
    assert (waits.cause.error, waits.then) == ("image_not_ready", Then.LOOK)
    assert (lost.cause.error, lost.then) == ("image_failed", Then.REJECT)
