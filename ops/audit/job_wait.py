"""How long a job waited in all: failed boots, cool-down and requeues included. Pure."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ops.audit.job_start import UNKNOWN
from ops.audit.request_history import RequestHistory, WaitSpan
from schemas.events import Transition
from schemas.jobs import JobEvent, JobTransition
from workers.slurm.runs import GONE

# Slurm reports times in whole seconds.
_SECOND = 1_000_000_000
# After these there is no more of a job.
_LAST = frozenset({JobTransition.FAILED, JobTransition.FINISHED})


@dataclass(frozen=True, slots=True)
class JobWait:
    """The wait of a job before its last start; times are ns since the epoch.

    Attributes:
        since: what it is counted from.
        ended: what ended it; empty if that is not recorded, because the job waits, or was cancelled.
        spans: what it was spent on, in order; their sum is the whole.
    """

    begin: int
    end: int
    since: str
    ended: str
    spans: tuple[WaitSpan, ...]

    @property
    def length(self) -> int:
        """The whole wait, ns."""
        return self.end - self.begin

    @property
    def longest(self) -> WaitSpan:
        """What most of it was spent on."""
        return max(self.spans, key=lambda span: span.length, default=WaitSpan(0, "nothing"))


def job_wait(
    requests: Sequence[RequestHistory], events: Sequence[JobEvent], now: int
) -> JobWait | None:
    """The wait of a job, from the requests that it waited for and the events about it.

    It begins with the submission; if that is not recorded, with the first request. Slurm sets the
    submission of a requeued job again, so that the first request may be older. What was before the
    end of an earlier run does not count, nor an earlier job of the same id, which Slurm gives again
    when its state is lost. None if it waited for no request: one that was made while the job ran
    repairs its node.
    """
    runs = list(_runs(events))
    asked = (one for one in requests if not any(a + _SECOND <= one.asked < b for a, b in runs))
    waits = sorted(asked, key=lambda one: one.asked)
    if not waits:
        return None
    last = waits[-1].asked
    over = [e for e in events if e.transition in (*_LAST, JobTransition.ENDED) and e.time <= last]
    cut = max((event.time for event in over), default=0)
    waits = [one for one in waits if one.asked >= cut]
    submissions = [event.submitted_at for event in events if event.submitted_at > cut - _SECOND]
    begin, since = waits[0].asked, "the first request for it"
    if submissions and min(submissions) <= begin:
        begin, since = min(submissions), "its submission"
    elif any(event.time == cut and event.state == GONE for event in over):  # a requeue ended it
        begin, since = cut, "the end of its last run"
    end, ended = _end(events, last, now)
    end = max(begin, end)  # it has the time of another clock, or is a whole second
    return JobWait(begin, end, since, ended, tuple(_spans(waits, begin, end, ended)))


def _runs(events: Sequence[JobEvent]) -> Iterable[tuple[int, int]]:
    """The begin and end of the runs; the last one goes on if its end is not recorded."""
    begins = sorted({event.started_at for event in events if event.started_at is not None})
    ends = {e.started_at: e.time for e in events if e.transition is JobTransition.ENDED}
    for begin in begins:
        later = (e.time for e in events if e.transition in _LAST and e.time > begin)
        open_end = min(later, default=sys.maxsize) if begin == begins[-1] else begin
        yield begin, ends.get(begin, open_end)


def _end(events: Iterable[JobEvent], last: int, now: int) -> tuple[int, str]:
    """When the wait for the last request ended, and how; now, if that is not recorded."""
    starts = [event.started_at for event in events if event.started_at is not None]
    if after := [start for start in starts if start > last - _SECOND]:
        return min(after), "started"
    for transition, ended in ((JobTransition.FAILED, "failed"), (JobTransition.FINISHED, "ended")):
        if times := [e.time for e in events if e.transition is transition and e.time > last]:
            return max(times), ended
    return now, ""


def _spans(waits: Sequence[RequestHistory], begin: int, end: int, ended: str) -> Iterable[WaitSpan]:
    at, before = begin, "until Slurm requested the first node"
    for one in waits:
        if (asked := min(one.asked, end)) > at:
            yield WaitSpan(asked - at, before)
            at = asked
        until = min(end, end if one.ended is None else one.ended)
        outcome = str(one.outcome or "under way")
        if until > at:
            cause = f": {one.cause}" if one.cause else ""
            yield WaitSpan(until - at, f"for {one.node}: {outcome}{cause}")
            at = until
        state = f"the request for {one.node} was {outcome}"
        if one.outcome is Transition.FAILED:
            state = f"{one.node} had failed"
        elif one.outcome is Transition.COMPLETED and one.cause is None:
            state = f"{one.node} was powered on"
        before = f"after {state}, until Slurm requested the next node"
    start = max((one.start for one in waits), key=lambda x: x.started_at or 0, default=UNKNOWN)
    what = f"until the job {ended}" if ended else "since then"
    if start.started_at == end and start.job_registered_at is not None:
        ready = max(at, start.job_registered_at)
        if ready > at:
            yield WaitSpan(ready - at, "until all its nodes had registered")
        at, what = ready, f"until {start.started_by} started the job"
    if end > at:
        yield WaitSpan(end - at, what)
