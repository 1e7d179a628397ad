"""When a held token is served, renewed, replaced or refused: the pure decisions."""

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
    """A token asked for at time 0."""
    return cache.obtained(Slot(), token(life=life), asked=0, jitter=jitter)


@pytest.mark.parametrize(("life", "least"), [(HOUR, 300), (1200, 300), (400, 100), (60, 15)])
def test_the_floor_is_five_minutes_or_a_quarter_of_the_life(life: float, least: float) -> None:
    assert cache.floor(life) == least
    slot = holding(life)
    assert isinstance(cache.decide(slot, life - least, None, "file"), ServeToken)
    assert cache.decide(slot, life - least + 0.01, None, "file") == FetchToken()


@given(life=LIVES, part=st.floats(min_value=0, max_value=1.5), jitter=JITTERS)
def test_who_gets_a_token_may_hold_it_a_while_and_always_gives_it_up_before_its_end(
    life: float, part: float, jitter: float
) -> None:
    now = part * life
    decision = cache.decide(holding(life, jitter), now, None, "file")
    if isinstance(decision, ServeToken):
        margin = cache.floor(life) / 2 * 0.999
        assert decision.hold >= margin
        assert now + decision.hold <= life - margin


@given(life=LIVES, jitter=JITTERS)
def test_a_token_in_use_is_renewed_before_it_reaches_the_floor(life: float, jitter: float) -> None:
    idle = holding(life, jitter)
    used = cache.served(idle)
    assert used.held is not None
    lead = life - used.held.renew
    assert 1.1 * cache.floor(life) < lead < 1.7 * cache.floor(life)
    assert not cache.due(used, used.held.renew - 0.01 * life, "file")
    assert cache.due(used, used.held.renew, "file")
    assert not cache.due(idle, used.held.renew, "file")


def test_of_a_refused_token_one_replacement_is_fetched_and_served_to_all_who_complain() -> None:
    old = token()
    slot = holding()
    assert cache.decide(slot, 100, old.digest, "file") == FetchToken()
    slot = cache.without_refused(slot, 100, old.digest)
    assert cache.decide(slot, 100, None, "file") == FetchToken(), "nobody else gets it either"
    slot = cache.obtained(slot, token("second"), asked=100, jitter=0)
    late = cache.decide(slot, 101, old.digest, "file")
    assert isinstance(late, ServeToken)
    assert late.token.id == "second"


def test_a_cloud_that_refuses_every_token_costs_one_login_in_ten_seconds() -> None:
    slot = cache.without_refused(holding(), 100, token().digest)
    second = token("second")
    slot = cache.obtained(slot, second, asked=100, jitter=0)
    refusal = cache.decide(slot, 109, second.digest, "file")
    assert isinstance(refusal, SourceError)
    assert (refusal.error, refusal.permanent) == ("refused_by_cloud", False)
    assert cache.decide(slot, 110, second.digest, "file") == FetchToken()


def test_a_permanent_refusal_stays_until_the_credential_changes() -> None:
    slot = cache.failed(Slot(), PERMANENT, 0, 0.5, "file")
    assert cache.decide(slot, 10 * 365 * 24 * HOUR, None, "file") is PERMANENT
    assert cache.decide(slot, 1, None, "new file") == FetchToken()


@given(jitter=JITTERS)
def test_passing_trouble_is_retried_ever_more_slowly_up_to_a_minute(jitter: float) -> None:
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


def test_the_provider_is_given_the_time_it_asks_for() -> None:
    slot = cache.failed(Slot(), away("429", retry_after=200), 0, 1, "file")
    assert slot.trouble is not None
    assert slot.trouble.until == 200


def test_trouble_while_renewing_leaves_the_token_in_service() -> None:
    slot = cache.failed(cache.served(holding()), away("503"), 3200, 0, "file")
    assert isinstance(cache.decide(slot, 3200, None, "file"), ServeToken)
    assert not cache.due(slot, 3200, "file")
    assert cache.due(slot, 3261, "file")


def test_success_ends_the_memory_of_trouble() -> None:
    slot = cache.failed(Slot(), away("503"), 0, 0, "file")
    slot = cache.obtained(slot, token(), asked=5, jitter=0)
    assert slot.trouble is None
    slot = cache.failed(slot, away("503"), 3600, 1, "file")
    assert slot.trouble is not None
    assert math.isclose(slot.trouble.until, 3601)
