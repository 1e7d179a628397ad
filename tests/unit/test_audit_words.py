"""A request's waits, and cells of exported tables."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.audit.job_start import UNKNOWN, JobStart
from ops.audit.request_history import RequestHistory, request_history
from ops.cli.files import cell_of
from schemas.commands import Kind
from schemas.events import Cause, CloudAction, RequestEvent, Transition
from tests.testbed.auditlog import SECOND, entry_of
from tests.testbed.messages import MOMENT, command, event
from tests.testbed.strategies import words

ASKED = command()


def at(seconds: int) -> int:
    return MOMENT + seconds * SECOND


def history(*events: RequestEvent) -> RequestHistory:
    return request_history([entry_of(each) for each in events])


def test_waits_fill_the_time_of_a_request() -> None:
    cause = Cause("server_side", "HTTP 500")
    tries = (
        CloudAction("os-start", "s", at(4), "server_side"),
        CloudAction("os-start", "s", at(10), "done"),
    )
    found = history(
        event(Transition.ACCEPTED, ASKED, time=at(1)),
        replace(event(Transition.RETRIED, ASKED, time=at(5), cause=cause), attempt=1),
        replace(event(Transition.COMPLETED, ASKED, time=at(40)), actions=tries, attempt=1),
    )
    assert [(x.length // SECOND, x.what) for x in found.waits] == [
        (1, "spool and broker"),
        (3, "until the cloud was called"),
        (1, "after os-start had failed: server_side"),
        (5, "before another attempt: server_side: HTTP 500"),
        (30, "booting"),
    ]
    assert found.longest_wait == found.waits[-1]
    assert found.total(at(1000)) == 40 * SECOND
    assert (found.outcome, found.attempts) == (Transition.COMPLETED, 1)


def test_a_replayed_request_is_open_again_and_its_time_as_a_dead_letter_counts() -> None:
    failed = event(Transition.FAILED, ASKED, time=at(3), cause=Cause("quota", "full"))
    again = event(Transition.REPLAYED, ASKED, round_=2, time=at(100))
    assert history(failed).outcome is Transition.FAILED
    found = history(again, failed)
    assert (found.outcome, found.ended) == (None, None)
    assert found.total(at(150)) == 150 * SECOND
    assert found.longest_wait is not None
    assert found.longest_wait.what == "a dead letter: quota: full"


@given(
    st.lists(
        st.tuples(st.sampled_from(Transition), st.integers(-5, 1000), st.integers(1, 3)), max_size=8
    ),
    st.sampled_from(Kind),
    st.none() | st.integers(-5, 2000),
)
def test_waits_are_positive_and_their_sum_is_at_most_the_whole_time(
    steps: list[tuple[Transition, int, int]], kind: Kind, registered: int | None
) -> None:
    """Also if the clock of a worker is behind, or the node registers long after its boot."""
    asked = command(kind=kind)
    steps = [*steps, (Transition.COMPLETED, max((s for _, s, _ in steps), default=-5), 3)]
    events = [entry_of(event(h, asked, round_=r, time=at(s))) for h, s, r in steps]
    start = UNKNOWN if registered is None else JobStart(at(registered))
    found = request_history(events, start)
    assert all(wait.length > 0 for wait in found.waits)
    assert sum(wait.length for wait in found.waits) <= found.total(at(0))


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_cell_that_looks_like_a_formula_is_quoted(start: str) -> None:
    assert cell_of(f"{start}SUM(A1)") == f"'{start}SUM(A1)"


@pytest.mark.parametrize("separator", [";", ",", "|", "; ", ';"', ", '"])
def test_no_separator_of_any_locale_begins_a_formula(separator: str) -> None:
    assert re.search(r"[;,|][\s\"]*[=+@-]", cell_of(f"a{separator}=1+1")) is None
    assert cell_of(" =1").startswith("'")


@pytest.mark.parametrize("sign", "=+-@\uff1d\uff0b\uff0d\uff20")
def test_no_form_of_a_sign_begins_a_formula_behind_any_separator(sign: str) -> None:
    """Also behind a space, and in full width; a dash between words stays as it is."""
    assert cell_of(f"{sign}1").startswith("'")
    for separator in (";", ",", "|", " ", "; ", ' "', ";'"):
        assert f"'{sign}1" in cell_of(f"a{separator}{sign}1")
    assert cell_of("node1 - node2") == "node1 - node2"


@given(words)
def test_no_cell_is_a_formula_or_has_control_characters(text: str) -> None:
    assert not cell_of(text).startswith(("=", "+", "-", "@"))
    assert cell_of(text).isprintable()
