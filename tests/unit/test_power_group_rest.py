"""A group whose cloud has no room is not hammered, and everybody is told."""

from __future__ import annotations

import pytest

from schemas.events import Cause
from workers.power.group_rest import GroupRest

QUOTA = Cause("quota", "Quota exceeded for instances")


def test_the_group_rests_for_as_long_as_it_is_told_and_the_event_says_so() -> None:
    cooling = GroupRest()
    assert cooling.note("gpu", QUOTA, 60, now=100.0).message.endswith("; group gpu rests for 60 s")
    refusal = cooling.refusal("gpu", 130.0)
    assert refusal is not None
    assert refusal.error == "quota"
    assert refusal.message == (
        "not tried: group gpu rests for 30 s more after: Quota exceeded for instances"
    )
    assert cooling.refusal("gpu", 160.0) is None


def test_another_group_goes_on() -> None:
    cooling = GroupRest()
    cooling.note("gpu", QUOTA, 60, now=100.0)
    assert cooling.refusal("cpu", 101.0) is None


def test_a_refusal_while_it_rests_does_not_prolong_the_rest() -> None:
    cooling = GroupRest()
    cooling.note("gpu", QUOTA, 60, now=100.0)
    refusal = cooling.refusal("gpu", 150.0)
    assert refusal is not None
    assert cooling.note("gpu", refusal, 60, now=150.0) == refusal
    assert cooling.refusal("gpu", 160.0) is None


@pytest.mark.parametrize("error", ["server_error", "boot_timeout", "forbidden"])
def test_other_failures_cool_nothing(error: str) -> None:
    cooling = GroupRest()
    cooling.note("gpu", Cause(error, "x"), 60, now=100.0)
    assert cooling.refusal("gpu", 100.0) is None
