"""A group whose cloud has no room is not tried for a while, and its events say so."""

from __future__ import annotations

import pytest

from schemas.events import Cause
from workers.clouds.health import GroupRest

QUOTA = Cause("quota", "Quota exceeded for instances")


def test_the_group_rests_for_its_cool_down_and_the_cause_says_so() -> None:
    groups = GroupRest()
    assert groups.note("gpu", QUOTA, 60, now=100.0).message.endswith("; group gpu rests for 60 s")
    refusal = groups.refusal("gpu", 130.0)
    assert refusal is not None
    assert refusal.error == "quota"
    assert refusal.message == (
        "not tried: group gpu rests for 30 s more after: Quota exceeded for instances"
    )
    assert groups.refusal("gpu", 160.0) is None


def test_another_group_goes_on() -> None:
    groups = GroupRest()
    groups.note("gpu", QUOTA, 60, now=100.0)
    assert groups.refusal("cpu", 101.0) is None


def test_a_refusal_during_the_rest_does_not_extend_it() -> None:
    groups = GroupRest()
    groups.note("gpu", QUOTA, 60, now=100.0)
    refusal = groups.refusal("gpu", 150.0)
    assert refusal is not None
    assert groups.note("gpu", refusal, 60, now=150.0) == refusal
    assert groups.refusal("gpu", 160.0) is None


@pytest.mark.parametrize("error", ["server_error", "boot_timeout", "forbidden"])
def test_other_failures_do_not_let_a_group_rest(error: str) -> None:
    groups = GroupRest()
    groups.note("gpu", Cause(error, "x"), 60, now=100.0)
    assert groups.refusal("gpu", 100.0) is None
