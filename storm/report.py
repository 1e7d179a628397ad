"""The words about a storm: its faults, what was checked, violations, and one summary line."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from storm import checker
from storm.evidence import Evidence
from storm.run import Result

_MOST = 40


def report(result: Result) -> Iterator[str]:
    """The lines; the last one says it all."""
    seen, verdict = result.evidence, result.verdict
    for kind, targets in sorted(faults_of(seen).items()):
        each = ", ".join(f"{n} {target}" for target, n in sorted(targets.items()))
        yield f"{kind}: {targets.total()} ({each})"
    for line in result.failed:
        yield f"a fault could not be carried out: {line}"
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


def faults_of(seen: Evidence) -> dict[str, Counter[str]]:
    """How often each fault was carried out: by kind, then by target."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for fault in seen.injected:
        found[fault.kind][fault.target] += 1
    return found


def summary(result: Result) -> str:
    """One line with the figures of a storm."""
    seen, verdict = result.evidence, result.verdict
    done = {kind: targets.total() for kind, targets in faults_of(seen).items()}
    kills = sum(done.get(kind, 0) for kind in ("kill", "kill_hook"))
    kills += sum(fault.target == "kill" for fault in seen.injected)  # of servers and slurmctld
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
        f"{result.brokers} broker{'s' * (result.brokers > 1)}, {result.store}: {words}"
    )
