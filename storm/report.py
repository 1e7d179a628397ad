"""The words about a storm: its faults, what was checked, violations, and one summary line."""

from collections import Counter
from collections.abc import Iterator

from storm import checker
from storm.run import Result

_MOST = 40


def report(result: Result) -> Iterator[str]:
    """The lines; the last one says it all."""
    yield "faults: " + ", ".join(f"{n} {kind}" for kind, n in sorted(result.done.items()))
    for line in result.failed:
        yield f"a fault could not be carried out: {line}"
    seen, verdict = result.evidence, result.verdict
    outcomes = Counter(s.transition for s in seen.steps if s.transition in checker.TERMINAL)
    yield "outcomes: " + ", ".join(f"{n} {name}" for name, n in sorted(outcomes.items()))
    ends = Counter(task.end or "silent" for task in seen.beats)
    yield "tasks of jobs: " + ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    for promise, cases in verdict.checked.items():
        yield f"checked: {cases} {promise}"
    for violation in verdict.violations[:_MOST]:
        yield f"VIOLATION: {violation}"
    if len(verdict.violations) > _MOST:
        yield f"and {len(verdict.violations) - _MOST} more"
    yield summary(result)


def summary(result: Result) -> str:
    """One line with the figures of a storm."""
    done, seen, verdict = result.done, result.evidence, result.verdict
    kills = sum(done.get(kind, 0) for kind in ("kill", "kill_hook"))
    others = sum(verdict.count(promise) for promise in checker.OTHERS)
    figures = {
        "hook calls": len(seen.calls),
        "nodes in them": sum(len(call.nodes) for call in seen.calls),
        "jobs": result.jobs,
        "faults": sum(done.values()),
        "kills": kills,
        "terminations": done.get("terminate", 0),
        "stops": done.get("freeze", 0),
        "lost": verdict.count(checker.LOST),
        "doubled": verdict.count(checker.DOUBLED),
        "jobs ended by us": verdict.count(checker.ENDED_JOB),
        "wrong final states": verdict.count(checker.WRONG),
        "leaked servers": verdict.count(checker.LEAKED),
        "second servers": verdict.count(checker.SECOND),
        "other violations": others,
    }
    words = ", ".join(f"{number} {name}" for name, number in figures.items())
    return (
        f"storm: seed {result.seed}, {result.seconds / 60:g} min, {result.nodes} nodes, "
        f"{result.brokers} broker{'s' * (result.brokers > 1)}: {words}"
    )
