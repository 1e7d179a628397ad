"""Compares what a storm has left with the promises. Pure; knows nothing of the product's code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from storm.evidence import Evidence
from storm.rules import end, jobs, power, requests
from storm.rules.violation import SLURMS_OWN, Violation

_Rule: TypeAlias = Callable[[Evidence], Iterator[Violation]]
# What is checked, and the number of its cases.
_RULES: tuple[tuple[str, _Rule, Callable[[Evidence], int]], ...] = (
    ("kinds of evidence", end.enough, lambda _: 1),
    (
        "nodes of hook calls with a record",
        requests.requests,
        lambda e: sum(len(call.nodes) for call in e.calls),
    ),
    ("hook calls", requests.refusals, lambda e: len(e.calls)),
    (
        "rounds with one outcome",
        requests.rounds,
        lambda e: len({(step.request_id, step.round) for step in e.steps}),
    ),
    ("superseded requests", requests.superseded, lambda e: _count(e, "superseded")),
    ("failed requests", requests.failures, lambda e: _count(e, "failed")),
    (
        "completed requests compared with the cloud",
        power.outcomes,
        lambda e: _count(e, "completed"),
    ),
    ("runs of tasks of jobs", jobs.ended_by_us, lambda e: len(e.beats)),
    ("tasks that fell silent", jobs.silent, lambda e: sum(b.end is None for b in e.beats)),
    ("batch jobs that must end", jobs.unended, lambda e: len(e.batch)),
    ("times of power of servers", power.second_servers, lambda e: len(e.ledger)),
    (
        "times at which a server was powered off",
        power.unasked,
        lambda e: sum(period.off is not None for period in e.ledger),
    ),
    ("times at which a server was powered on", power.unwanted, lambda e: len(e.ledger)),
    ("nodes compared with Slurm", end.final, lambda e: len(e.states)),
    ("servers compared with their strategy", end.strategies, lambda e: len(e.servers)),
    ("dead letters", requests.letters, lambda e: len(e.letters)),
    ("queues", end.queues, lambda e: len(e.queues)),
    ("processes' memory", end.memory, lambda e: len(e.memory)),
    ("the rest", end.rest, lambda _: 1),
)


@dataclass(frozen=True)
class Verdict:
    """What was checked, by promise with the number of cases; and what does not hold.

    Attributes:
        slurms_own: jobs that Slurm itself has lost: no broken promise, but shown.
    """

    checked: dict[str, int]
    violations: tuple[Violation, ...]
    slurms_own: tuple[Violation, ...]

    def count(self, promise: str) -> int:
        """The number of violations of a promise."""
        return sum(violation.promise == promise for violation in self.violations)


def check(seen: Evidence) -> Verdict:
    """Check all promises."""
    found = [violation for _, rule, _ in _RULES for violation in rule(seen)]
    return Verdict(
        {name: cases(seen) for name, _, cases in _RULES},
        tuple(one for one in found if one.promise not in SLURMS_OWN),
        tuple(one for one in found if one.promise in SLURMS_OWN),
    )


def _count(seen: Evidence, transition: str) -> int:
    return sum(step.transition == transition for step in seen.steps)
