"""When nodes were powered on, also if rounds ended before their effect was seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.report.history import Boot, NodeHistory, PoweredOn
from ops.report.history import histories as histories_of
from schemas.commands import Kind
from schemas.events import CloudAction, RequestEvent, Transition
from tests.testbed.messages import command, event
from tests.testbed.outcomes import outcome_of
from tests.testbed.strategies import events as any_events

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND = 10**9
START, STOP = "os-start", "os-stop"


def outcome(
    kind: Kind, at: int, *calls: tuple[str, int], ends: Transition = Transition.COMPLETED
) -> RequestEvent:
    """The outcome of a round at `at` seconds, with its calls and the seconds of their responses."""
    asked = command("node1", kind=kind, generation=max(1, at - 10) * SECOND, jobs=(7,))
    actions = tuple(CloudAction(word, "s", when * SECOND, "done") for word, when in calls)
    return replace(event(ends, asked, time=at * SECOND), actions=actions, cloud="sbg")


def histories(events: Iterable[RequestEvent], until: int) -> list[NodeHistory]:
    return histories_of((outcome_of(each) for each in events if each.transition.terminal), until)


def powered_on(*events: RequestEvent, until: int = 1000) -> list[tuple[int, int]]:
    found = histories(events, until * SECOND)[0].powered_on
    return [(span.begin // SECOND, span.end // SECOND) for span in found]


def test_a_node_is_powered_on_from_seen_running_to_seen_stopped() -> None:
    up, down = outcome(Kind.RESUME, 100, (START, 60)), outcome(Kind.SUSPEND, 200, (STOP, 190))
    history = histories([down, up], 1000 * SECOND)[0]
    assert history.powered_on == (PoweredOn(100 * SECOND, 200 * SECOND, (7,)),)
    assert history.boots == (Boot(60 * SECOND, 100 * SECOND, done=True, jobs=(7,)),)
    assert history.known_since == 60 * SECOND


def test_a_node_that_still_runs_is_powered_on_until_the_end() -> None:
    assert powered_on(outcome(Kind.RESUME, 100, (START, 60)), until=150) == [(100, 150)]


def test_a_second_resume_of_a_running_node_counts_nothing() -> None:
    up = outcome(Kind.RESUME, 100, (START, 60))
    assert powered_on(up, outcome(Kind.RESUME, 110), outcome(Kind.SUSPEND, 200, (STOP, 190))) == [
        (100, 200)
    ]


def test_a_failed_boot_counts_nothing_unless_the_node_had_to_be_stopped() -> None:
    failed = outcome(Kind.RESUME, 100, (START, 60), ends=Transition.FAILED)
    assert powered_on(failed, outcome(Kind.RESUME_FAIL, 130)) == []
    assert powered_on(failed, outcome(Kind.RESUME_FAIL, 130, (STOP, 120))) == [(100, 130)]
    assert [boot.done for boot in histories([failed], 1000 * SECOND)[0].boots] == [False]


def test_a_superseded_resume_may_have_powered_on_its_node() -> None:
    superseded = outcome(Kind.RESUME, 100, (START, 60), ends=Transition.SUPERSEDED)
    suspend = outcome(Kind.SUSPEND, 100, (STOP, 95))
    assert powered_on(superseded, suspend) == [(95, 100)]
    later = replace(suspend, generation=superseded.generation + 1)
    assert powered_on(later, superseded) == [(95, 100)], "recorded in reverse order"
    assert powered_on(superseded, outcome(Kind.SUSPEND, 100)) == []


def test_a_superseded_suspend_powers_off_at_its_call() -> None:
    up = outcome(Kind.RESUME, 100, (START, 60))
    superseded = outcome(Kind.SUSPEND, 210, (STOP, 200), ends=Transition.SUPERSEDED)
    again = outcome(Kind.RESUME, 230, (START, 215))
    assert powered_on(up, superseded, again, until=300) == [(100, 200), (230, 300)]


def test_a_dry_run_powers_nothing_on_or_off() -> None:
    """It completes a request at the call that it does not make."""

    def rehearsed(kind: Kind, at: int, word: str) -> RequestEvent:
        (action,) = outcome(kind, at, (word, at)).actions
        return replace(
            outcome(kind, at), actions=(replace(action, result="dry_run"),), dry_run=True
        )

    up = outcome(Kind.RESUME, 100, (START, 60))
    assert powered_on(up, rehearsed(Kind.SUSPEND, 200, STOP)) == [(100, 1000)]
    assert histories([rehearsed(Kind.RESUME, 200, START)], 1000 * SECOND) == []


@pytest.mark.parametrize("how", [Transition.SUPERSEDED, Transition.FAILED])
def test_a_round_that_ends_late_does_not_undo_what_later_rounds_have_shown(how: Transition) -> None:
    """Its message rested in a retry tier for ten minutes."""
    up, again = outcome(Kind.RESUME, 100, (START, 60)), outcome(Kind.RESUME, 230, (START, 215))
    late_stop = outcome(Kind.SUSPEND, 600, (STOP, 200), ends=how)
    assert powered_on(up, again, late_stop) == [(100, 215), (230, 1000)]
    down, found_on = outcome(Kind.SUSPEND, 300, (STOP, 290)), outcome(Kind.RESUME, 700)
    late_start = outcome(Kind.RESUME, 600, (START, 250), ends=how)
    assert powered_on(up, down, late_start, found_on) == [(100, 300), (700, 1000)]


def test_a_boot_ends_when_another_request_shows_the_node_running() -> None:
    """The first request rests in a retry tier meanwhile, and ends late; the node was on."""
    seen = outcome(Kind.RESUME, 100)
    late = outcome(Kind.RESUME, 600, (START, 60))
    assert powered_on(seen, late) == [(100, 1000)]
    (boot,) = histories([seen, late], 1000 * SECOND)[0].boots
    assert (boot.begin, boot.end) == (60 * SECOND, 100 * SECOND)


def test_a_node_that_stopped_unseen_is_off_until_it_is_seen_running_again() -> None:
    up, again = outcome(Kind.RESUME, 100, (START, 60)), outcome(Kind.RESUME, 300, (START, 280))
    assert powered_on(up, again, until=400) == [(100, 280), (300, 400)]


def test_a_deployment_is_powered_on_from_creation_until_stopped() -> None:
    deployed = outcome(Kind.DEPLOY, 300, ("create", 100), (STOP, 290))
    history = histories([deployed], 1000 * SECOND)[0]
    assert powered_on(deployed) == [(100, 300)]
    assert history.servers == ((100 * SECOND, None),)


def test_servers_live_from_creation_to_deletion() -> None:
    first = outcome(Kind.RESUME, 100, ("create", 60))
    gone = outcome(Kind.SUSPEND, 200, ("delete", 190))
    second = outcome(Kind.RESUME, 300, ("create", 260))
    servers = histories([first, gone, second], 1000 * SECOND)[0].servers
    assert servers == ((60 * SECOND, 200 * SECOND), (260 * SECOND, None))
    only_end = histories([gone], 1000 * SECOND)[0].servers
    assert only_end == ((None, 200 * SECOND),)


def test_a_server_that_a_failed_boot_has_deleted_is_gone() -> None:
    """It ended in ERROR, and the quota had no room for another."""
    failed = outcome(Kind.RESUME, 100, ("create", 10), ("delete", 50), ends=Transition.FAILED)
    again = outcome(Kind.RESUME, 900, ("create", 850))
    lives = histories([failed, outcome(Kind.RESUME_FAIL, 130), again], 1000 * SECOND)[0].servers
    assert lives == ((10 * SECOND, 50 * SECOND), (850 * SECOND, None))


@pytest.mark.slow
@given(st.lists(any_events, max_size=8), st.integers(0, 2**63 - 1))
def test_for_any_events_spans_begin_before_they_end(events: list[RequestEvent], until: int) -> None:
    same = [replace(each, node="node1") for each in events]
    for history in histories(same, until):
        ends = [moment for span in history.powered_on for moment in (span.begin, span.end)]
        assert all(span.begin <= span.end for span in history.powered_on)
        assert all(boot.begin <= boot.end for boot in history.boots)
        assert len(ends) == 2 * len(history.powered_on)
