"""Rules about requests: each call has its own, each round one beginning and one end, each no a cause."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from storm.dead_letters import objection
from storm.evidence import DeadLetter, Evidence, HookCall, Injected, Step
from storm.rules.times import CLOSE, UNSEEN, during, forgets, true_times, window
from storm.rules.violation import (
    DOUBLED,
    FAILED,
    INVENTED,
    LETTER,
    LOST,
    OPEN,
    REFUSED,
    UNOPENED,
    UNTIMELY,
    Violation,
)

TERMINAL = frozenset({"completed", "superseded", "failed", "discarded"})
# The audit's names of the hooks' kinds.
KINDS = {"resume": "resume", "suspend": "suspend", "resume-fail": "resume_fail"}
# The calls that a call is superseded by.
_AGAINST = {"resume": {"suspend", "resume-fail"}, "suspend": {"resume"}}
# The exit status of a hook that the storm has killed.
KILLED = 137


def requests(seen: Evidence) -> Iterator[Violation]:
    """Each node of each call that ended with 0 has a request of its own time, and nothing else has one.

    The broker vouches for the sender of every request.
    """
    calls: dict[tuple[str, str], list[HookCall]] = defaultdict(list)
    for call in seen.calls:
        for node in call.nodes:
            calls[node, KINDS[call.kind]].append(call)
    found: dict[tuple[str, str], dict[str, Step]] = defaultdict(dict)
    for step in seen.steps:
        if step.transition == "accepted" and step.origin == "hook":
            found[step.node, step.kind].setdefault(step.request_id, step)
        elif step.transition == "accepted" and step.origin is None and step.round == 1:
            said = f"{step.kind} {step.request_id}: nobody vouches for its sender"
            yield Violation(INVENTED, step.node, said, (step.time,))
    for key in sorted(calls.keys() | found.keys()):
        node, kind = key
        asked = {step.request_id: step.asked for step in found[key].values()}
        windows = {number: window(call, seen.injected) for number, call in enumerate(calls[key])}
        safe = {n: times for n, times in windows.items() if calls[key][n].status == 0}
        for number in safe.keys() - match(safe, asked).values():
            call = calls[key][number]
            yield Violation(LOST, node, f"{kind}: no request of this call's time", (call.began,))
        for request in asked.keys() - match(windows, asked).keys():
            said = f"{kind} {request}: no call at this time"
            yield Violation(INVENTED, node, said, (asked[request],))


def refusals(seen: Evidence) -> Iterator[Violation]:
    """A call ends with another status than 0 only where the storm killed it, or filled its spool's disk.

    And it ends within a minute, however busy the machine is.
    """
    for call in seen.calls:
        if call.ended is not None and (lasted := call.ended - call.began) > UNSEEN:
            said = f"{call.kind}: it took {lasted:.0f} s"
            yield Violation(REFUSED, ",".join(call.nodes), said, (call.began, call.ended))
        if call.status not in {None, 0, KILLED} and not any(
            (fault.kind, fault.target) == ("disk", "spool") and during(call, fault)
            for fault in seen.injected
        ):
            said = f"{call.kind}: exit status {call.status}, and its spool was not full"
            yield Violation(REFUSED, ",".join(call.nodes), said, (call.began,))


def match(windows: dict[int, tuple[float, float]], asked: dict[str, float]) -> dict[str, int]:
    """Give as many requests as possible a window of their own; the window by request.

    Taking for each request, in order of time, the open window that ends first is the best possible.
    """
    coming = sorted(((since, until, n) for n, (since, until) in windows.items()), reverse=True)
    open_: list[tuple[float, int]] = []
    found: dict[str, int] = {}
    for at, request in sorted((at, request) for request, at in asked.items()):
        while coming and coming[-1][0] <= at:
            _, until, number = coming.pop()
            heappush(open_, (until, number))
        while open_ and open_[0][0] < at:
            heappop(open_)
        if open_:
            found[request] = heappop(open_)[1]
    return found


def rounds(seen: Evidence) -> Iterator[Violation]:
    """Each round of a request has exactly one terminal record, and a beginning.

    The first round begins when it is accepted, a later one when a letter is replayed; a letter that
    is discarded has a round of this record alone. A later round follows one that failed. All records
    of a request are about one node and of one kind.
    """
    steps: dict[tuple[tuple[str, str, str], int], list[Step]] = defaultdict(list)
    for step in seen.steps:
        steps[(step.request_id, step.node, step.kind), step.round].append(step)
    for (whose, round_), records in steps.items():
        ends = [step for step in records if step.transition in TERMINAL]
        said = f"{records[0].kind} {records[0].request_id} round {round_}"
        times = tuple(step.time for step in records)
        names = {step.transition for step in records}
        if not ends:
            yield Violation(OPEN, records[0].node, said, times)
        if len(ends) > 1:
            words = ", ".join(step.transition for step in ends)
            yield Violation(DOUBLED, ends[0].node, f"{said}: {words}", tuple(s.time for s in ends))
        before = {step.transition for step in steps.get((whose, round_ - 1), ())}
        if not _begins(round_, names, before):
            yield Violation(UNOPENED, records[0].node, f"{said}: {sorted(names)}", times)


def _begins(round_: int, names: set[str], before: set[str]) -> bool:
    if "discarded" in names:
        return "failed" in before and names == {"discarded"}
    if round_ == 1:
        return "accepted" in names
    return "failed" in before and "replayed" in names


def superseded(seen: Evidence) -> Iterator[Violation]:
    """A resume or suspend of a hook is superseded only by what came after it.

    That is Slurm's call for the opposite, an operator's request, or a slurmctld that was killed, or ended,
    and forgot the call. A suspended node is also on for Slurm if its slurmd registered once more: after a
    fault of slurmctld, or of a server that the storm started. (So is one after a resume-fail, whose slurmd
    was late: that is not judged.)
    """
    accepted = {step.request_id: step for step in seen.steps if step.transition == "accepted"}
    for step in seen.steps:
        own = accepted.get(step.request_id)
        if step.transition != "superseded" or step.kind not in _AGAINST or own is None:
            continue
        if own.origin == "hook" and not any(
            _is_overtaken(seen, own, at) for at in true_times(step, seen.injected)
        ):
            said = f"{step.kind} {step.request_id}: nothing came after it"
            yield Violation(UNTIMELY, step.node, said, (own.asked, step.time))


def _is_overtaken(seen: Evidence, own: Step, ended: float) -> bool:
    called = [
        call.began
        for call in seen.calls
        if call.kind == own.kind
        and own.node in call.nodes
        and _bears(call, own.asked, seen.injected)
    ]
    since = min(called, default=own.asked)
    return (
        any(
            call.kind in _AGAINST[own.kind]
            and own.node in call.nodes
            and since < call.began < ended + CLOSE
            for call in seen.calls
        )
        or any(
            (step.node, step.transition, step.origin) == (own.node, "accepted", "operator")
            and step.kind != own.kind
            and step.asked > own.asked
            for step in seen.steps
        )
        or any(forgets(seen, at) for at in called)
        or any(
            own.kind == "suspend"
            and (fault.kind == "slurmctld" or (fault.kind, fault.target) == ("server", "runs"))
            and since - CLOSE < fault.began < ended
            for fault in seen.injected
        )
    )


def _bears(call: HookCall, asked: float, injected: Iterable[Injected]) -> bool:
    since, until = window(call, injected)
    return since < asked < until


def failures(seen: Evidence) -> Iterator[Violation]:
    """Each request that failed, also one replayed since, met a permanent no that a fault explains."""
    for step in seen.steps:
        if step.transition == "failed":
            no = DeadLetter(
                step.node, step.error or "", f"{step.kind} {step.request_id}", step.time
            )
            yield from _judged(no, seen.injected, FAILED)


def letters(seen: Evidence) -> Iterator[Violation]:
    """Each dead letter is a permanent no, which a fault of the storm explains.

    A request whose last round failed has one.
    """
    for letter in seen.letters:
        yield from _judged(letter, seen.injected, LETTER)
    kept = {letter.request_id for letter in seen.letters}
    last: dict[str, int] = defaultdict(int)
    for step in seen.steps:
        last[step.request_id] = max(last[step.request_id], step.round)
    for step in seen.steps:
        failed = step.transition == "failed" and step.round == last[step.request_id]
        if failed and step.request_id not in kept:
            said = f"{step.kind} {step.request_id} failed, and is in no dead letter"
            yield Violation(LETTER, step.node, said, (step.time,))


def _judged(letter: DeadLetter, injected: Iterable[Injected], promise: str) -> Iterator[Violation]:
    if why := objection(letter, injected):
        times = () if letter.died_at is None else (letter.died_at,)
        yield Violation(promise, letter.node, f"{letter.error}: {letter.message}: {why}", times)
