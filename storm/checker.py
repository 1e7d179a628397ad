"""Compares what a storm has left with the promises. Pure; knows nothing of the product's code."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from storm.dead_letters import objection
from storm.evidence import Beats, Evidence, HookCall, PoweredOn, Step

TERMINAL = frozenset({"completed", "superseded", "failed", "discarded"})
# The audit's names of the hooks' kinds.
KINDS = {"resume": "resume", "suspend": "suspend", "resume-fail": "resume_fail"}
# Seconds: on a busy machine, a node beats so long after the cloud has cut its power; and a beat that
# comes twice a second can be late.
_BEFORE, _AFTER = 5.0, 2.0
# A second server of a node may live this long, until it is seen and deleted.
_SECOND_SERVER = 45.0
# Nobody consumes the dead letters, and without a webhook no notifications.
_UNREAD = frozenset({"power.dlq", "notify"})
# States of a node that needs no server.
_OFF = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})
# Memory: growth from the middle of the storm to its end.
_GROWTH, _SLACK = 1.25, 24.0


@dataclass(frozen=True)
class Violation:
    """A broken promise; `times` are seconds since the epoch."""

    promise: str
    node: str
    what: str
    times: tuple[float, ...] = ()

    def __str__(self) -> str:
        times = ", ".join(
            datetime.fromtimestamp(t, UTC).strftime("%H:%M:%S.%f")[:-3] for t in self.times
        )
        return " | ".join(word for word in (self.promise, self.node, self.what, times) if word)


@dataclass(frozen=True)
class Verdict:
    """What was checked, by promise with the number of cases; and what does not hold."""

    checked: dict[str, int]
    violations: tuple[Violation, ...]

    def count(self, promise: str) -> int:
        """The number of violations of a promise."""
        return sum(violation.promise == promise for violation in self.violations)


LOST, DOUBLED, ENDED_JOB = "lost request", "doubled request", "job ended by us"
SECOND, LEAKED, WRONG = "second server", "leaked server", "wrong final state"
OTHERS = (
    *("open round", "dead letter", "audit", "queue", "traceback", "memory", "not at rest"),
    "invented request",
)


def check(seen: Evidence) -> Verdict:
    """Check all promises."""
    violations: list[Violation] = []
    checked: dict[str, int] = {}
    for name, rule, cases in (
        ("nodes of hook calls with a record", _requests, sum(len(c.nodes) for c in seen.calls)),
        ("rounds with one outcome", _rounds, len({(s.request_id, s.round) for s in seen.steps})),
        ("runs of tasks of jobs", _jobs, len(seen.beats)),
        ("times of power of servers", _second_servers, len(seen.ledger)),
        ("nodes compared with Slurm", _final, len(seen.states)),
        ("dead letters", _letters, len(seen.letters)),
        ("queues", _queues, len(seen.queues)),
        ("processes' memory", _memory, len(seen.memory)),
        ("the rest", _rest, 1),
    ):
        checked[name] = cases
        violations += rule(seen)
    return Verdict(checked, tuple(violations))


def _requests(seen: Evidence) -> Iterator[Violation]:
    """Each node of each call that ended with 0 has one request; a call that failed has one or none."""
    safe: dict[tuple[str, str], list[float]] = defaultdict(list)
    unsafe: Counter[tuple[str, str]] = Counter()
    for call in seen.calls:
        for node in call.nodes:
            key = node, KINDS[call.kind]
            if call.status == 0:
                safe[key].append(call.began)
            else:
                unsafe[key] += 1
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for step in seen.steps:
        if step.transition == "accepted" and step.origin == "hook":
            found[step.node, step.kind].setdefault(step.request_id, step.time)
    for key in sorted(safe.keys() | found.keys()):
        node, kind = key
        least, most, are = len(safe[key]), len(safe[key]) + unsafe[key], len(found[key])
        said = (
            f"{kind}: {least} calls ended well, {unsafe[key]} did not, {are} requests in the audit"
        )
        if are < least:
            yield Violation(LOST, node, said, tuple(safe[key]))
        if are > most:
            yield Violation("invented request", node, said, tuple(found[key].values()))


def _rounds(seen: Evidence) -> Iterator[Violation]:
    """Each round of a request has exactly one terminal record."""
    steps: dict[tuple[str, int], list[Step]] = defaultdict(list)
    for step in seen.steps:
        steps[step.request_id, step.round].append(step)
    for (request, round_), records in steps.items():
        ends = [step for step in records if step.transition in TERMINAL]
        said = f"{records[0].kind} {request} round {round_}"
        if not ends:
            yield Violation("open round", records[0].node, said, tuple(s.time for s in records))
        if len(ends) > 1:
            words = ", ".join(step.transition for step in ends)
            yield Violation(DOUBLED, ends[0].node, f"{said}: {words}", tuple(s.time for s in ends))


def _jobs(seen: Evidence) -> Iterator[Violation]:
    """No task that was alive fell silent because of our call, or of what we told Slurm.

    A power cut from outside, and one that Slurm asked for after the task had begun, are not ours.
    """
    offs: dict[str, list[float]] = defaultdict(list)
    for period in seen.ledger:
        if period.off is not None:
            offs[period.node].append(period.off)
    for node, at in seen.reboots:
        offs[node].append(at)
    by = {
        "the cloud was told to power it off": offs,
        "Slurm was told that the node is down": _times(seen.set_down),
    }
    outside = _times(seen.outside)
    for task in seen.beats:
        if task.end == "end":
            continue
        for words, times in by.items():
            cut_at = next((t for t in times.get(task.node, ()) if _cuts(t, task)), None)
            if cut_at is None or any(abs(cut_at - cut) < 10 for cut in outside.get(task.node, ())):  # noqa: PLR2004 - seconds
                continue
            if not _asked(seen.calls, task, cut_at):
                said = f"{task.job}: {words}"
                yield Violation(ENDED_JOB, task.node, said, (task.began, task.last, cut_at))
                break


def _times(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = defaultdict(list)
    for node, at in pairs:
        times[node].append(at)
    return times


def _cuts(at: float, task: Beats) -> bool:
    return task.began < at and task.last - _BEFORE < at < task.last + _AFTER


def _asked(calls: Iterable[HookCall], task: Beats, at: float) -> bool:
    """Whether Slurm asked for the node's end after the task had begun."""
    return any(
        call.kind != "resume" and task.node in call.nodes and task.began < call.began < at
        for call in calls
    )


def _second_servers(seen: Evidence) -> Iterator[Violation]:
    """No node has two running servers for long."""
    by_node: dict[str, list[PoweredOn]] = defaultdict(list)
    for period in seen.ledger:
        by_node[period.node].append(period)
    for node, periods in by_node.items():
        for one, other in pairwise(sorted(periods, key=lambda period: period.on)):
            if one.server_id == other.server_id:
                continue
            ends = [period.off for period in (one, other) if period.off is not None]
            if not ends:
                yield Violation(SECOND, node, "both run at the end", (one.on, other.on))
            elif (lasted := min(ends) - other.on) > _SECOND_SERVER:
                said = f"for {lasted:.0f} s: {one.server_id}, {other.server_id}"
                yield Violation(SECOND, node, said, (other.on, min(ends)))


def _final(seen: Evidence) -> Iterator[Violation]:
    """A node that Slurm has powered down has no running server; one in use has one."""
    running = Counter(server.node for server in seen.servers if server.powered)
    for node, state in seen.states.items():
        count, said = running[node], "+".join(sorted(state))
        if node in seen.named:
            continue  # `lamplighter drift` tells the operator
        if "DOWN" in state and "POWERED_DOWN" in state:
            yield Violation(WRONG, node, f"{said}: out of service, and drift does not say so")
        elif state & _OFF and count:
            yield Violation(LEAKED, node, f"{said}, but {count} servers run")
        elif not state & _OFF and count != 1:
            yield Violation(WRONG, node, f"{said}, but {count} servers run")
    for node in sorted(running.keys() - seen.states.keys()):
        yield Violation(LEAKED, node, "a server runs that Slurm does not know")
    for node, count in Counter(server.node for server in seen.servers).items():
        if count > 1:
            yield Violation(SECOND, node, f"{count} servers at the end")


def _letters(seen: Evidence) -> Iterator[Violation]:
    """Each dead letter is a permanent no, which a fault of the storm explains."""
    for letter in seen.letters:
        if why := objection(letter, seen.injected):
            times = () if letter.died_at is None else (letter.died_at,)
            said = f"{letter.error}: {letter.message}: {why}"
            yield Violation("dead letter", letter.node, said, times)


def _queues(seen: Evidence) -> Iterator[Violation]:
    """Queues are drained; each has a consumer, except retry tiers and the dead letters."""
    for queue in seen.queues:
        if queue.name in _UNREAD:
            continue
        if queue.messages:
            yield Violation("queue", queue.name, f"{queue.messages} messages")
        if not queue.consumers and not queue.name.startswith("power.retry."):
            yield Violation("queue", queue.name, "no consumer")


def _memory(seen: Evidence) -> Iterator[Violation]:
    for process, sizes in seen.memory.items():
        half = len(sizes) // 2
        if half < 5:  # noqa: PLR2004 - too few to tell
            continue
        before, after = max(sizes[:half]), max(sizes[half:])
        if after > before * _GROWTH + _SLACK:
            yield Violation("memory", process, f"from {before:.0f} to {after:.0f} MiB")


def _rest(seen: Evidence) -> Iterator[Violation]:
    code, words = seen.verify
    if code:
        yield Violation("audit", "", words)
    for line in seen.tracebacks:
        yield Violation("traceback", "", line)
    for line in seen.unsettled:
        yield Violation("not at rest", "", line)
