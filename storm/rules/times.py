"""When things happened, though clocks were stepped; and when slurmctld was killed, and started again."""

from collections.abc import Iterable

from storm.evidence import Evidence, HookCall, Injected, Step
from storm.rules.violation import UNSAVED

# Seconds: a hook whose end nobody saw stamps its request by then; and what two clocks may differ by.
UNSEEN, CLOSE = 60.0, 1.0


def window(call: HookCall, injected: Iterable[Injected]) -> tuple[float, float]:
    """The times that the request of a call can bear.

    The clocks of the hooks and of the workers are stepped. The time in a generation never goes back:
    after a step forward, also of an operator's command by the workers' clock, it stays ahead until the
    hooks' clock has caught up. Only a step of the hooks' own clock makes it early.
    """
    began, ended = call.began, call.began + UNSEEN if call.ended is None else call.ended
    early = late = 0.0
    for fault in injected:
        if fault.kind != "clock" or fault.target.startswith("database"):
            continue
        whose, by = fault.target.split()[0], float(fault.target.split()[1])
        if by < 0 and whose == "hooks" and during(call, fault):
            early = min(early, by)
        if by > 0 and fault.began - CLOSE < ended and began < fault.ended + by + CLOSE:
            late = max(late, by)
    return began + early - CLOSE, ended + late + CLOSE


def true_times(step: Step, injected: tuple[Injected, ...]) -> list[float]:
    """When a worker made a record, whose clock may have been stepped."""
    times = [step.time]
    for fault in injected:
        if fault.kind == "clock" and fault.target.startswith("workers"):
            at = step.time - float(fault.target.split()[1])
            if fault.began - 1 < at < fault.ended + 1:
                times.append(at)
    return times


def during(call: HookCall, fault: Injected) -> bool:
    """Whether a call and a fault were at the same time."""
    ended = call.began + UNSEEN if call.ended is None else call.ended
    return fault.began - CLOSE < ended and call.began < fault.ended + CLOSE


def kills(seen: Evidence) -> list[Injected]:
    """Each time that slurmctld was killed, or crashed, without a chance to save its state; also if that failed."""
    ends = {"kill", "crash"}
    return [f for f in seen.injected if f.kind == "slurmctld" and f.target in ends]


def forgets(seen: Evidence, called: float) -> list[Injected]:
    """The ends of slurmctld that make it forget a call of that time.

    It was killed before it had saved the call, or it still called while it ended, its state saved before.
    """
    ending = [
        fault
        for fault in seen.injected
        if (fault.kind, fault.target) == ("slurmctld", "restart")
        and fault.began - CLOSE < called < fault.ended
    ]
    return [*ending, *(kill for kill in kills(seen) if called < kill.began < called + UNSAVED)]


def started(seen: Evidence, killed: float) -> float:
    """When slurmctld, killed at that time, has started again."""
    return min((at for at in seen.ctld_starts if at > killed), default=float("inf"))
