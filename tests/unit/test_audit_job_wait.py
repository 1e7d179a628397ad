"""The whole wait of a job: from its submission, over failed boots and requeues, to its start."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.audit.job_start import UNKNOWN
from ops.audit.job_wait import job_wait
from ops.audit.request_history import RequestHistory, request_history
from schemas.commands import Kind
from schemas.events import Transition
from schemas.jobs import JobEvent, JobTransition
from tests.testbed import messages
from workers.audit.queries import Entry

NS = 10**9
T0 = 1_767_323_045
NOW = (T0 + 1000) * NS


def request(node: str, asked: float, ended: float | None, *, fails: bool = False) -> RequestHistory:
    """A request of a node; times in seconds after T0."""
    outcome = None if ended is None else Transition.FAILED if fails else Transition.COMPLETED
    return RequestHistory(
        node,
        f"r-{node}",
        Kind.RESUME,
        int((T0 + asked) * NS),
        1,
        0,
        "c",
        None if ended is None else int((T0 + ended) * NS),
        outcome,
        "quota: none" if fails else None,
        UNKNOWN,
        (),
    )


def event(
    transition: JobTransition,
    at: int,
    *,
    submitted: int = 0,
    started: int | None = None,
    state: str | None = None,
) -> JobEvent:
    return JobEvent(
        transition,
        "test",
        7,
        (T0 + submitted) * NS,
        (T0 + at) * NS,
        state=state,
        started_at=None if started is None else (T0 + started) * NS,
    )


def seconds(lengths: list[int]) -> list[int]:
    return [length // NS for length in lengths]


FAILED_THEN_BOOTED = [request("node1", 2, 12, fails=True), request("node2", 312, 320)]


def test_wait_includes_the_failed_boot_the_cool_down_and_the_requeue() -> None:
    """Slurm has set the submission again when it requeued the job."""
    events = [
        event(JobTransition.IDENTIFIED, 3),
        event(JobTransition.STARTED, 326, submitted=13, started=326),
    ]
    found = job_wait(FAILED_THEN_BOOTED, events, NOW)
    assert found is not None
    assert (found.since, found.ended, found.length) == ("its submission", "started", 326 * NS)
    assert seconds([span.length for span in found.spans]) == [2, 10, 300, 8, 6]
    assert found.longest.what == "after node1 had failed, until Slurm requested the next node"
    assert found.spans[1].what == "for node1: failed: quota: none"


def test_without_the_first_submission_the_wait_begins_with_the_first_request() -> None:
    events = [event(JobTransition.STARTED, 326, submitted=13, started=326)]
    found = job_wait(FAILED_THEN_BOOTED, events, NOW)
    assert found is not None
    assert (found.since, found.length) == ("the first request for it", 324 * NS)


def test_job_that_still_waits_or_has_failed() -> None:
    waits = job_wait([request("node1", 2, None)], [], NOW)
    assert waits is not None
    assert (waits.ended, waits.end) == ("", NOW)
    failed = job_wait(FAILED_THEN_BOOTED[:1], [event(JobTransition.FAILED, 13)], NOW)
    assert failed is not None
    assert (failed.ended, failed.length) == ("failed", 13 * NS)
    assert job_wait([], [], NOW) is None


def test_time_before_the_end_of_an_earlier_run_is_no_wait() -> None:
    """A requeue after it ran, or another job of the same number before Slurm lost its state."""
    earlier = [request("node9", -500, -490), *FAILED_THEN_BOOTED]
    events = [
        event(JobTransition.STARTED, -480, submitted=-600, started=-480),
        event(JobTransition.ENDED, 0, submitted=-600, started=-480, state="GONE"),
        event(JobTransition.STARTED, 326, submitted=1, started=326),
    ]
    found = job_wait(earlier, events, NOW)
    assert found is not None
    assert (found.since, found.length) == ("its submission", 325 * NS)
    found = job_wait(earlier, events[:2], NOW)
    assert found is not None
    assert (found.since, found.ended) == ("the end of its last run", "")


def test_a_wait_does_not_begin_with_the_end_of_a_job_that_was_over() -> None:
    """A number that Slurm gives again, or the replay of a dead letter after the job's end."""
    day = 86_400
    requests = [request("node1", 2, 12), request("node2", day + 2, None)]
    events = [
        event(JobTransition.STARTED, 20, started=20),
        event(JobTransition.ENDED, 100, started=20, state="COMPLETED"),
    ]
    found = job_wait(requests, events, (T0 + day + 50) * NS)
    assert found is not None
    assert (found.since, found.length) == ("the first request for it", 48 * NS)
    again = event(JobTransition.STARTED, day + 70, submitted=day, started=day + 70)
    found = job_wait(requests, [*events, again], (T0 + 2 * day) * NS)
    assert found is not None
    assert (found.since, found.ended, found.length) == ("its submission", "started", 70 * NS)


@pytest.mark.parametrize("ended", [False, True])
def test_a_repair_of_a_node_on_which_the_job_runs_is_no_wait(*, ended: bool) -> None:
    """The resync worker starts a node that died, for the jobs that Slurm shows on it."""
    requests = [request("node1", 2, 12), request("node1", 100, 110)]
    events = [event(JobTransition.STARTED, 20, started=20)]
    if ended:
        events += [event(JobTransition.ENDED, 200, started=20, state="NODE_FAIL")]
    found = job_wait(requests, events, NOW)
    assert found is not None
    assert (found.since, found.ended, found.length) == ("its submission", "started", 20 * NS)
    assert job_wait(requests[1:], events, NOW) is None


def test_a_request_after_a_run_whose_end_is_not_recorded_is_a_wait_for_the_next_run() -> None:
    events = [
        event(JobTransition.STARTED, -480, submitted=-600, started=-480),
        event(JobTransition.STARTED, 326, submitted=1, started=326),
    ]
    found = job_wait(FAILED_THEN_BOOTED, events, NOW)
    assert found is not None
    assert (found.ended, found.end) == ("started", (T0 + 326) * NS)


def test_a_job_that_was_cancelled_while_it_waited_waits_no_longer() -> None:
    """Of a UWS job the end is recorded."""
    events = [
        event(JobTransition.IDENTIFIED, 3),
        event(JobTransition.FINISHED, 30, state="CANCELLED"),
    ]
    found = job_wait([request("node1", 2, 12)], events, NOW)
    assert found is not None
    assert (found.ended, found.length) == ("ended", 30 * NS)
    assert found.spans[-1].what == "until the job ended"


@pytest.mark.parametrize("last", [JobTransition.FAILED, JobTransition.FINISHED])
@pytest.mark.parametrize("ran", [False, True])
def test_an_earlier_job_of_the_same_id_does_not_count(last: JobTransition, *, ran: bool) -> None:
    """Slurm starts its ids again at 1 when its state is lost."""
    day = 86_400
    old = [event(last, 20)]
    if ran:
        old = [event(JobTransition.STARTED, 5, started=5), event(JobTransition.ENDED, 20), *old]
    new = event(JobTransition.STARTED, day + 70, submitted=day, started=day + 70)
    requests = [request("node1", 2, 12), request("node2", day + 2, day + 60)]
    found = job_wait(requests, [*old, new], (T0 + 2 * day) * NS)
    assert found is not None
    assert (found.since, found.ended, found.length) == ("its submission", "started", 70 * NS)


def test_a_node_whose_request_was_superseded_had_not_failed() -> None:
    """Slurm gave the job another node before the first one had booted."""
    given_up = replace(request("node1", 2, 12), outcome=Transition.SUPERSEDED)
    found = job_wait([given_up, request("node2", 40, 50)], [], NOW)
    assert found is not None
    assert [span.what for span in found.spans] == [
        "for node1: superseded",
        "after the request for node1 was superseded, until Slurm requested the next node",
        "for node2: completed",
        "since then",
    ]


def test_a_dry_run_powered_no_node_on() -> None:
    rehearsed = replace(messages.event(Transition.COMPLETED, time=NOW - NS), dry_run=True)
    body = rehearsed.to_envelope().to_json()
    recorded = Entry(
        1, rehearsed.id, "test", Transition.COMPLETED.type, NOW, NOW, "node1", "r", 1, "completed",
        body,
    )  # fmt: skip
    first = request_history([recorded])
    assert first.cause == "dry run: no action was taken"
    found = job_wait([first, request("node2", 1100, None)], [], NOW + 200 * NS)
    assert found is not None
    assert [span.what for span in found.spans][:2] == [
        "for node1: completed: dry run: no action was taken",
        "after the request for node1 was completed, until Slurm requested the next node",
    ]


at_second = st.integers(0, 60)
waits_for_nodes = st.builds(
    lambda asked, part, took, fails: request(
        "node1", asked + part, None if took is None else asked + took, fails=fails
    ),
    at_second,
    st.sampled_from([0, 0.4, 0.9]),
    st.none() | st.integers(-3, 40),
    st.booleans(),
)
happened = st.builds(
    lambda how, at, before: event(how, at, submitted=at - before, started=at, state="GONE"),
    st.sampled_from([JobTransition.STARTED, JobTransition.ENDED, JobTransition.FINISHED]),
    at_second,
    at_second,
)


@given(st.lists(waits_for_nodes, max_size=4), st.lists(happened, max_size=4), st.integers(0, 90))
def test_for_any_history_the_parts_of_a_wait_sum_up_to_it(
    requests: list[RequestHistory], events: list[JobEvent], now: int
) -> None:
    """Also where the clock of a worker is behind, so that a request ended before it was made."""
    events.sort(key=lambda one: one.time)
    found = job_wait(requests, events, (T0 + now) * NS)
    if found is not None:
        assert all(span.length > 0 for span in found.spans)
        assert sum(span.length for span in found.spans) == found.length


def test_nodes_of_one_job_wait_at_the_same_time() -> None:
    both = [request("node1", 2, 30), replace(request("node2", 2, 40), cause=None)]
    started = event(JobTransition.STARTED, 50, started=50)
    found = job_wait(both, [started], NOW)
    assert found is not None
    assert sum(span.length for span in found.spans) == found.length == 50 * NS
