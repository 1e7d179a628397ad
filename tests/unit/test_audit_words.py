"""What the audit's records come to in words: waits, cells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.files import cell_of
from ops.history.waits import wait_breakdown
from schemas.commands import Kind
from schemas.events import Cause, CloudAction, RequestEvent, Transition
from tests.testbed.auditlog import SECOND
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.strategies import words

ASKED = command()


def at(seconds: int) -> int:
    return MOMENT + seconds * SECOND


def bodies(*events: RequestEvent) -> list[bytes]:
    return [told.to_envelope().to_json() for told in events]


def test_a_wait_is_told_by_its_stretches_which_fill_it() -> None:
    cause = Cause("server_side", "HTTP 500")
    tries = (
        CloudAction("os-start", "s", at(4), "server_side"),
        CloudAction("os-start", "s", at(10), "done"),
    )
    wait = wait_breakdown(
        bodies(
            event(Transition.ACCEPTED, ASKED, time=at(1)),
            replace(event(Transition.RETRIED, ASKED, time=at(5), cause=cause), attempt=1),
            replace(event(Transition.COMPLETED, ASKED, time=at(40)), actions=tries, attempt=1),
        )
    )
    assert [(x.length // SECOND, x.what) for x in wait.stretches] == [
        (1, "spool and broker"),
        (3, "until the cloud was called"),
        (1, "after os-start had failed: server_side"),
        (5, "before another attempt: server_side: HTTP 500"),
        (30, "booting"),
    ]
    assert wait.mostly == wait.stretches[-1]
    assert wait.total(at(1000)) == 40 * SECOND
    assert (wait.outcome, wait.attempts) == (Transition.COMPLETED, 1)


def test_a_replayed_request_is_under_way_again_and_its_time_as_a_dead_letter_counts() -> None:
    failed = event(Transition.FAILED, ASKED, time=at(3), cause=Cause("quota", "full"))
    again = event(Transition.REPLAYED, ASKED, round_=2, time=at(100))
    assert wait_breakdown(bodies(failed)).outcome is Transition.FAILED
    wait = wait_breakdown(bodies(again, failed))
    assert (wait.outcome, wait.ended) == (None, None)
    assert wait.total(at(150)) == 150 * SECOND
    assert wait.mostly is not None
    assert wait.mostly.what == "a dead letter: quota: full"


@given(
    st.lists(
        st.tuples(st.sampled_from(Transition), st.integers(0, 1000), st.integers(1, 3)),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(Kind),
)
def test_no_stretch_is_negative_and_together_they_are_no_longer_than_all(
    steps: list[tuple[Transition, int, int]], kind: Kind
) -> None:
    asked = command(kind=kind)
    wait = wait_breakdown(bodies(*(event(h, asked, round_=r, time=at(s)) for h, s, r in steps)))
    assert all(stretch.length > 0 for stretch in wait.stretches)
    assert sum(stretch.length for stretch in wait.stretches) <= at(1000) - MOMENT


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_cell_that_a_spreadsheet_would_reckon_with_is_quoted(start: str) -> None:
    assert cell_of(f"{start}SUM(A1)") == f"'{start}SUM(A1)"


@given(words)
def test_no_cell_begins_as_a_formula_or_steers_a_terminal(text: str) -> None:
    assert not cell_of(text).startswith(("=", "+", "-", "@"))
    assert cell_of(text).isprintable()
