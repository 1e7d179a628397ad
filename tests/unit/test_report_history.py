"""What events tell of a node's power, also where rounds ended before anybody saw their effect."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from ops.report.history import Boot, History, PoweredOn
from ops.report.history import histories as histories_of
from ops.report.outcome import outcome_of
from schemas.commands import Kind
from schemas.events import CloudAction, RequestEvent, Transition
from tests.testbed.messages import command, event
from tests.testbed.strategies import events as any_events

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND = 10**9
START, STOP = "os-start", "os-stop"


def told(
    kind: Kind, at: int, *calls: tuple[str, int], ends: Transition = Transition.COMPLETED
) -> RequestEvent:
    """A round's end at `at` seconds, with its calls and their answers' seconds."""
    asked = command("node1", kind=kind, generation=max(1, at - 10) * SECOND, jobs=(7,))
    actions = tuple(CloudAction(word, "s", when * SECOND, "done") for word, when in calls)
    return replace(event(ends, asked, time=at * SECOND), actions=actions, cloud="sbg")


def histories(events: Iterable[RequestEvent], until: int) -> list[History]:
    return histories_of((outcome_of(told) for told in events if told.transition.terminal), until)


def lit(*events: RequestEvent, until: int = 1000) -> list[tuple[int, int]]:
    found = histories(events, until * SECOND)[0].lit
    return [(span.begin // SECOND, span.end // SECOND) for span in found]


def test_a_node_is_lit_from_seen_lit_to_seen_out() -> None:
    up, down = told(Kind.RESUME, 100, (START, 60)), told(Kind.SUSPEND, 200, (STOP, 190))
    history = histories([down, up], 1000 * SECOND)[0]
    assert history.lit == (PoweredOn(100 * SECOND, 200 * SECOND, (7,)),)
    assert history.boots == (Boot(60 * SECOND, 100 * SECOND, done=True, jobs=(7,)),)
    assert history.since == 60 * SECOND


def test_what_is_lit_at_the_end_is_lit_until_then() -> None:
    assert lit(told(Kind.RESUME, 100, (START, 60)), until=150) == [(100, 150)]


def test_asking_twice_lights_once() -> None:
    up = told(Kind.RESUME, 100, (START, 60))
    assert lit(up, told(Kind.RESUME, 110), told(Kind.SUSPEND, 200, (STOP, 190))) == [(100, 200)]


def test_a_boot_that_failed_lit_nothing_unless_it_had_to_be_put_out() -> None:
    failed = told(Kind.RESUME, 100, (START, 60), ends=Transition.FAILED)
    assert lit(failed, told(Kind.RESUME_FAIL, 130)) == []
    assert lit(failed, told(Kind.RESUME_FAIL, 130, (STOP, 120))) == [(100, 130)]
    assert [boot.done for boot in histories([failed], 1000 * SECOND)[0].boots] == [False]


def test_a_resume_that_was_overtaken_may_have_lit_its_node() -> None:
    overtaken = told(Kind.RESUME, 100, (START, 60), ends=Transition.SUPERSEDED)
    suspend = told(Kind.SUSPEND, 100, (STOP, 95))
    assert lit(overtaken, suspend) == [(95, 100)]
    later = replace(suspend, generation=overtaken.generation + 1)
    assert lit(later, overtaken) == [(95, 100)], "recorded the other way round"
    assert lit(overtaken, told(Kind.SUSPEND, 100)) == []


def test_a_suspend_that_was_overtaken_puts_out_by_its_call() -> None:
    up = told(Kind.RESUME, 100, (START, 60))
    overtaken = told(Kind.SUSPEND, 210, (STOP, 200), ends=Transition.SUPERSEDED)
    again = told(Kind.RESUME, 230, (START, 215))
    assert lit(up, overtaken, again, until=300) == [(100, 200), (230, 300)]


def test_a_node_that_died_unseen_is_out_until_it_is_seen_lit_again() -> None:
    up, again = told(Kind.RESUME, 100, (START, 60)), told(Kind.RESUME, 300, (START, 280))
    assert lit(up, again, until=400) == [(100, 280), (300, 400)]


def test_a_deployment_is_lit_from_its_creation_until_it_is_put_out() -> None:
    deployed = told(Kind.DEPLOY, 300, ("create", 100), (STOP, 290))
    history = histories([deployed], 1000 * SECOND)[0]
    assert lit(deployed) == [(100, 300)]
    assert history.made == ((100 * SECOND, None),)


def test_servers_live_from_creation_to_deletion() -> None:
    first = told(Kind.RESUME, 100, ("create", 60))
    gone = told(Kind.SUSPEND, 200, ("delete", 190))
    second = told(Kind.RESUME, 300, ("create", 260))
    made = histories([first, gone, second], 1000 * SECOND)[0].made
    assert made == ((60 * SECOND, 200 * SECOND), (260 * SECOND, None))
    only_end = histories([gone], 1000 * SECOND)[0].made
    assert only_end == ((None, 200 * SECOND),)


@given(st.lists(any_events, max_size=8), st.integers(0, 2**63 - 1))
def test_whatever_is_told_spans_are_in_order_and_end_in_time(
    events: list[RequestEvent], until: int
) -> None:
    same = [replace(told_, node="node1") for told_ in events]
    for history in histories(same, until):
        ends = [moment for span in history.lit for moment in (span.begin, span.end)]
        assert all(span.begin <= span.end for span in history.lit)
        assert all(boot.begin <= boot.end for boot in history.boots)
        assert len(ends) == 2 * len(history.lit)
