"""The words about a storm: its faults, what was checked, violations, and one summary line."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from storm.evidence import Evidence
from storm.rules import violation
from storm.rules.requests import KILLED, TERMINAL
from storm.run import Result

_MOST = 40
_NAMED = {
    "lost": violation.LOST,
    "doubled": violation.DOUBLED,
    "jobs ended by us": violation.ENDED_JOB,
    "wrong final states": violation.WRONG,
    "leaked servers": violation.LEAKED,
    "second servers": violation.SECOND,
}


def report(result: Result) -> Iterator[str]:
    """The lines; the last one says it all."""
    seen, verdict = result.evidence, result.verdict
    for kind, targets in sorted(faults_of(seen).items()):
        each = ", ".join(f"{n} {target}" for target, n in sorted(targets.items()))
        yield f"{kind}: {targets.total()} ({each})"
    for line, times in sorted(Counter(result.failed).items()):
        yield f"a fault was not made, and does not count: {line} ({times}x)"
    outcomes = Counter(s.transition for s in seen.steps if s.transition in TERMINAL)
    yield "outcomes: " + ", ".join(f"{n} {name}" for name, n in sorted(outcomes.items()))
    ends = Counter(task.end or "silent" for task in seen.beats)
    yield "tasks of jobs: " + ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    for promise, cases in verdict.checked.items():
        yield f"checked: {cases} {promise}"
    for broken in verdict.violations[:_MOST]:
        yield f"VIOLATION: {broken}"
    if len(verdict.violations) > _MOST:
        yield f"and {len(verdict.violations) - _MOST} more"
    for own in verdict.slurms_own[:_MOST]:
        yield f"Slurm's own: {own}"
    yield summary(result)


def faults_of(seen: Evidence) -> dict[str, Counter[str]]:
    """How often each fault was made: by kind, then by target; of the hooks, those that were killed."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for fault in seen.injected:
        if fault.made and fault.kind != "kill_hook":
            found[fault.kind][fault.target] += 1
    if killed := sum(call.status == KILLED for call in seen.calls):
        found["kill_hook"]["next"] = killed
    return found


def summary(result: Result) -> str:
    """One line with the figures of a storm."""
    seen, verdict = result.evidence, result.verdict
    done = {kind: targets.total() for kind, targets in faults_of(seen).items()}
    kills = sum(done.get(kind, 0) for kind in ("kill", "kill_hook"))
    kills += sum(f.target == "kill" and f.made for f in seen.injected)  # of servers and slurmctld
    named = [verdict.count(promise) for promise in _NAMED.values()]
    figures = {
        "hook calls": len(seen.calls),
        "nodes in them": sum(len(call.nodes) for call in seen.calls),
        "jobs": result.jobs,
        "faults": sum(done.values()),
        "kills": kills,
        "terminations": done.get("terminate", 0),
        "stops": done.get("freeze", 0),
        **dict(zip(_NAMED, named, strict=True)),
        "other violations": len(verdict.violations) - sum(named),
        "of Slurm's own": len(verdict.slurms_own),
    }
    words = ", ".join(f"{number} {name}" for name, number in figures.items())
    return (
        f"storm: seed {result.seed}, {result.seconds / 60:g} min, {result.nodes} nodes, "
        f"{result.brokers} broker{'s' * (result.brokers > 1)}, {result.store}: {words}"
    )
