"""Tests of the decisions when a token is served, renewed, replaced or refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.tokens import cache
from workers.tokens.cache import FetchToken, ServeToken, Slot
from workers.tokens.errors import SourceError, away
from workers.tokens.scoped import ScopedToken

HOUR = 3600.0
LIVES = st.floats(min_value=1, max_value=30 * 24 * HOUR)
JITTERS = st.floats(min_value=0, max_value=1)
PERMANENT = SourceError("invalid_grant", "gone", permanent=True, remedy="log in")


def token(name: str = "first", life: float = HOUR) -> ScopedToken:
    return ScopedToken(id=name, body={"token": {}}, life=life)


def holding(life: float = HOUR, jitter: float = 0.5) -> Slot:
    """A token requested at time 0."""
    return cache.obtained(Slot(), token(life=life), requested=0, jitter=jitter)


@pytest.mark.parametrize(("life", "least"), [(HOUR, 300), (1200, 300), (400, 100), (60, 15)])
def test_floor_is_five_minutes_or_a_quarter_of_the_life(life: float, least: float) -> None:
    assert cache.floor(life) == least
    slot = holding(life)
    assert isinstance(cache.decide(slot, life - least, None, "file"), ServeToken)
    assert cache.decide(slot, life - least + 0.01, None, "file") == FetchToken()


@given(life=LIVES, part=st.floats(min_value=0, max_value=1.5), jitter=JITTERS)
def test_hold_time_is_useful_and_ends_before_the_token(
    life: float, part: float, jitter: float
) -> None:
    now = part * life
    decision = cache.decide(holding(life, jitter), now, None, "file")
    if isinstance(decision, ServeToken):
        margin = cache.floor(life) / 2 * 0.999
        assert decision.hold >= margin
        assert now + decision.hold <= life - margin


@given(life=LIVES, jitter=JITTERS)
def test_token_in_use_is_renewed_before_the_floor(life: float, jitter: float) -> None:
    idle = holding(life, jitter)
    used = cache.served(idle)
    assert used.held is not None
    lead = life - used.held.renew
    assert 1.1 * cache.floor(life) < lead < 1.7 * cache.floor(life)
    assert not cache.renewal_due(used, used.held.renew - 0.01 * life, "file")
    assert cache.renewal_due(used, used.held.renew, "file")
    assert not cache.renewal_due(idle, used.held.renew, "file")


def test_refused_token_is_replaced_once_for_all_complaints() -> None:
    old = token()
    slot = holding()
    assert cache.decide(slot, 100, old.digest, "file") == FetchToken()
    slot = cache.without_refused(slot, 100, old.digest)
    assert cache.decide(slot, 100, None, "file") == FetchToken(), (
        "other requests do not get it either"
    )
    slot = cache.obtained(slot, token("second"), requested=100, jitter=0)
    late = cache.decide(slot, 101, old.digest, "file")
    assert isinstance(late, ServeToken)
    assert late.token.id == "second"


def test_cloud_that_refuses_every_token_costs_one_login_per_ten_seconds() -> None:
    slot = cache.without_refused(holding(), 100, token().digest)
    second = token("second")
    slot = cache.obtained(slot, second, requested=100, jitter=0)
    refusal = cache.decide(slot, 109, second.digest, "file")
    assert isinstance(refusal, SourceError)
    assert (refusal.error, refusal.permanent) == ("refused_by_cloud", False)
    assert cache.decide(slot, 110, second.digest, "file") == FetchToken()


def test_permanent_error_lasts_until_the_credential_changes() -> None:
    slot = cache.failed(Slot(), PERMANENT, 0, 0.5, "file")
    assert cache.decide(slot, 10 * 365 * 24 * HOUR, None, "file") is PERMANENT
    assert cache.decide(slot, 1, None, "new file") == FetchToken()


@given(jitter=JITTERS)
def test_transient_error_is_retried_with_backoff_up_to_a_minute(jitter: float) -> None:
    slot, waits = Slot(), []
    for _ in range(12):
        slot = cache.failed(slot, away("503"), 0, jitter, "file")
        assert slot.trouble is not None
        waits.append(slot.trouble.until)
        assert isinstance(cache.decide(slot, slot.trouble.until - 0.01, None, "f"), FetchToken)
        assert cache.decide(slot, slot.trouble.until - 0.01, None, "file") is slot.trouble.error
        assert cache.decide(slot, slot.trouble.until, None, "file") == FetchToken()
    assert waits == sorted(waits)
    assert 0.5 <= waits[0] <= 1
    assert 30 <= waits[-1] <= 60


def test_retry_after_of_the_provider_is_respected() -> None:
    slot = cache.failed(Slot(), away("429", retry_after=200), 0, 1, "file")
    assert slot.trouble is not None
    assert slot.trouble.until == 200


def test_failed_renewal_keeps_the_token_in_service() -> None:
    slot = cache.failed(cache.served(holding()), away("503"), 3200, 0, "file")
    assert isinstance(cache.decide(slot, 3200, None, "file"), ServeToken)
    assert not cache.renewal_due(slot, 3200, "file")
    assert cache.renewal_due(slot, 3261, "file")


def test_success_resets_the_backoff() -> None:
    slot = cache.failed(Slot(), away("503"), 0, 0, "file")
    slot = cache.obtained(slot, token(), requested=5, jitter=0)
    assert slot.trouble is None
    slot = cache.failed(slot, away("503"), 3600, 1, "file")
    assert slot.trouble is not None
    assert math.isclose(slot.trouble.until, 3601)
