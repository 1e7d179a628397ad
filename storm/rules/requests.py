"""Rules about requests: each call has its own, each round one beginning and one end, each no a cause."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from storm.dead_letters import objection
from storm.evidence import DeadLetter, Evidence, HookCall, Injected, Step
from storm.rules.violation import DOUBLED, FAILED, INVENTED, LETTER, LOST, OPEN, UNOPENED, Violation

TERMINAL = frozenset({"completed", "superseded", "failed", "discarded"})
# The audit's names of the hooks' kinds.
KINDS = {"resume": "resume", "suspend": "suspend", "resume-fail": "resume_fail"}
# Seconds: a hook whose end nobody saw stamps its request by then; and what two clocks may differ by.
_UNSEEN, _CLOSE = 60.0, 1.0


def requests(seen: Evidence) -> Iterator[Violation]:
    """Each node of each call that ended with 0 has a request of its own time, and nothing else has one."""
    calls: dict[tuple[str, str], list[HookCall]] = defaultdict(list)
    for call in seen.calls:
        for node in call.nodes:
            calls[node, KINDS[call.kind]].append(call)
    found: dict[tuple[str, str], dict[str, Step]] = defaultdict(dict)
    for step in seen.steps:
        if step.transition == "accepted" and step.origin == "hook":
            found[step.node, step.kind].setdefault(step.request_id, step)
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


def window(call: HookCall, injected: Iterable[Injected]) -> tuple[float, float]:
    """The times that the request of a call can bear.

    The clocks of the hooks and of the workers are stepped, and the time in a generation never goes
    back: after a step forward it stays ahead until the clock has caught up.
    """
    began, ended = call.began, call.began + _UNSEEN if call.ended is None else call.ended
    early = late = 0.0
    for fault in injected:
        if fault.kind != "clock" or fault.target.startswith("database"):
            continue
        by = float(fault.target.split()[1])
        if by < 0 and fault.began - _CLOSE < ended and began < fault.ended + _CLOSE:
            early = min(early, by)
        if by > 0 and fault.began - _CLOSE < ended and began < fault.ended + by + _CLOSE:
            late = max(late, by)
    return began + early - _CLOSE, ended + late + _CLOSE


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
    is discarded has a round of this record alone. A later round follows one that failed.
    """
    steps: dict[tuple[str, int], list[Step]] = defaultdict(list)
    for step in seen.steps:
        steps[step.request_id, step.round].append(step)
    for (request, round_), records in steps.items():
        ends = [step for step in records if step.transition in TERMINAL]
        said = f"{records[0].kind} {request} round {round_}"
        times = tuple(step.time for step in records)
        names = {step.transition for step in records}
        if not ends:
            yield Violation(OPEN, records[0].node, said, times)
        if len(ends) > 1:
            words = ", ".join(step.transition for step in ends)
            yield Violation(DOUBLED, ends[0].node, f"{said}: {words}", tuple(s.time for s in ends))
        before = {step.transition for step in steps.get((request, round_ - 1), ())}
        if not _begins(round_, names, before):
            yield Violation(UNOPENED, records[0].node, f"{said}: {sorted(names)}", times)


def _begins(round_: int, names: set[str], before: set[str]) -> bool:
    if round_ == 1:
        return "accepted" in names
    return "failed" in before and ("replayed" in names or names == {"discarded"})


def failures(seen: Evidence) -> Iterator[Violation]:
    """Each request that failed, also one replayed since, met a permanent no that a fault explains."""
    for step in seen.steps:
        if step.transition == "failed":
            no = DeadLetter(
                step.node, step.error or "", f"{step.kind} {step.request_id}", step.time
            )
            yield from _judged(no, seen.injected, FAILED)


def letters(seen: Evidence) -> Iterator[Violation]:
    """Each dead letter is a permanent no, which a fault of the storm explains."""
    for letter in seen.letters:
        yield from _judged(letter, seen.injected, LETTER)


def _judged(letter: DeadLetter, injected: Iterable[Injected], promise: str) -> Iterator[Violation]:
    if why := objection(letter, injected):
        times = () if letter.died_at is None else (letter.died_at,)
        yield Violation(promise, letter.node, f"{letter.error}: {letter.message}: {why}", times)
