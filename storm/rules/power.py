"""Rules about the power of servers, by the cloud's own ledger."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from itertools import combinations

from storm.evidence import Evidence, PoweredOn
from storm.rules.requests import KINDS
from storm.rules.times import forgets, kills, started, true_times, window
from storm.rules.violation import OUTCOME, SECOND, UNASKED, UNWANTED, Violation

# A second server of a node may live this long, until it is seen and deleted.
_SECOND_SERVER = 45.0
# Seconds between what a worker saw of a server and its record: it can be frozen for 14 s meanwhile.
_SEEN = 15.0
# What the clock of a request's sender may be stepped by; and what two clocks may differ by.
_STEPPED, _CLOSE = 45.0, 2.0
# A call that was on its way when a resume was accepted: the API's timeout, and the stop itself.
_IN_FLIGHT = 6.0
# The kinds of requests after which a node's server is on, or none is.
_POWERING = frozenset({"resume", "suspend", "resume_fail", "retire", "deploy"})
# The operator's commands that power a node off, by their first word: nodes retire, nodes deploy.
_POWERS_OFF = frozenset({"nodes", "suspend"})


def by_node(seen: Evidence) -> dict[str, list[PoweredOn]]:
    """The ledger's periods of each node."""
    found: dict[str, list[PoweredOn]] = defaultdict(list)
    for period in seen.ledger:
        found[period.node].append(period)
    return found


def second_servers(seen: Evidence) -> Iterator[Violation]:
    """No node has two running servers for long."""
    for node, periods in by_node(seen).items():
        for one, other in combinations(sorted(periods, key=lambda period: period.on), 2):
            if one.server_id == other.server_id:
                continue
            ends = [period.off for period in (one, other) if period.off is not None]
            if not ends:
                yield Violation(SECOND, node, "both run at the end", (one.on, other.on))
            elif (lasted := min(ends) - other.on) > _SECOND_SERVER:
                said = f"for {lasted:.0f} s: {one.server_id}, {other.server_id}"
                yield Violation(SECOND, node, said, (other.on, min(ends)))


def outcomes(seen: Evidence) -> Iterator[Violation]:
    """A completed resume left a server on, a completed suspend left none: the cloud says so, too."""
    periods = by_node(seen)
    for step in seen.steps:
        if step.transition != "completed" or step.kind not in _POWERING:
            continue
        times = true_times(step, seen.injected)
        if step.kind == "resume":
            mine = [p for p in periods[step.node] if step.server in {None, p.server_id}]
            right = any(_was_on(p, at) for p in mine for at in times)
            said = "resume completed, but the cloud had no server on"
        else:
            right = any(not _stayed_on(periods[step.node], at) for at in times)
            said = f"{step.kind} completed, but the cloud had a server on"
        if not right:
            yield Violation(OUTCOME, step.node, f"{said}: {step.request_id}", (step.time,))


def _was_on(period: PoweredOn, at: float) -> bool:
    return period.on < at + _SEEN and (period.off is None or period.off > at - _SEEN)


def _stayed_on(periods: list[PoweredOn], at: float) -> bool:
    return any(p.on < at - _SEEN and (p.off is None or p.off > at + _SEEN) for p in periods)


def unasked(seen: Evidence) -> Iterator[Violation]:
    """No server was powered off after its node's resume was accepted, unless somebody asked for it.

    That is Slurm, the operator, the storm itself, or a slurmctld that was killed and forgot the resume.
    A node's second server may go while the other one is on.
    """
    for node, periods in by_node(seen).items():
        resumes = _known(seen, node, {"resume"})
        for period in periods:
            if (off := period.off) is None or _other_is_on(periods, period, off):
                continue
            resumed = max((at for at, known in resumes if known + _IN_FLIGHT < off), default=None)
            if resumed is None or _was_going_off(seen, period, resumed):
                continue
            if _broke(seen, period, off):
                continue
            if not _is_asked(seen, node, resumed, off):
                said = f"{off - resumed:.0f} s after its resume: {period.server_id}"
                yield Violation(UNASKED, node, said, (resumed, period.on, off))


def unwanted(seen: Evidence) -> Iterator[Violation]:
    """No server was powered on after Slurm's request to power its node off was accepted.

    Unless Slurm or the operator asked for it since, the storm started the server, or slurmctld was
    killed and forgot its call.
    """
    for node, periods in by_node(seen).items():
        offs = _known(seen, node, {"suspend", "resume-fail"})
        for period in periods:
            off = max((at for at, known in offs if known + _SEEN < period.on), default=None)
            if off is not None and not _is_wanted(seen, node, off, period.on):
                said = f"{period.on - off:.0f} s after Slurm's call to power it off"
                yield Violation(UNWANTED, node, f"{said}: {period.server_id}", (off, period.on))


def _is_wanted(seen: Evidence, node: str, since: float, on: float) -> bool:
    return (
        any(c.kind == "resume" and node in c.nodes and since <= c.began < on for c in seen.calls)
        or any(
            node in command.words and since < command.ended and command.began < on
            for command in seen.commands
        )
        or any(
            (fault.kind, fault.target) == ("server", "runs")
            and since < fault.ended
            and fault.began < on + _CLOSE
            for fault in seen.injected
        )
        or any(since - _CLOSE < kill.began < on for kill in kills(seen))
        or bool(forgets(seen, since))
    )


def _known(seen: Evidence, node: str, kinds: Collection[str]) -> list[tuple[float, float]]:
    """When hooks of these kinds were called for a node, and their requests accepted."""
    accepted = [
        step
        for step in seen.steps
        if (step.node, step.transition, step.origin) == (node, "accepted", "hook")
    ]
    found = []
    for call in seen.calls:
        if call.kind in kinds and node in call.nodes:
            since, until = window(call, seen.injected)
            known = [
                max(times)
                for step in accepted
                if step.kind == KINDS[call.kind]
                and since < step.asked < until
                and (times := [t for t in true_times(step, seen.injected) if t > call.began])
            ]
            if known:
                found.append((call.began, min(known)))
    return found


def _was_going_off(seen: Evidence, period: PoweredOn, at: float) -> bool:
    """Whether a call was to power it off before that, and Nova failed at that: it can only go off."""
    booted = [when for node, when in seen.reboots if node == period.node and when < at]
    since = max([period.on, *booted])
    return any(server == period.server_id and since < made < at for server, made in seen.stuck)


def _broke(seen: Evidence, period: PoweredOn, off: float) -> bool:
    """Whether the storm let Nova fail at its last reboot: it is in ERROR."""
    reboots = [at for node, at in seen.reboots if node == period.node and period.on < at < off]
    return any(
        fault.began - _CLOSE < max(reboots) < fault.ended + _CLOSE
        for fault in seen.injected
        if reboots and fault.kind == "work" and fault.target in {"error", "no_host"}
    )


def _other_is_on(periods: list[PoweredOn], one: PoweredOn, at: float) -> bool:
    return any(
        p.server_id != one.server_id and p.on < at and (p.off is None or p.off > at)
        for p in periods
    )


def _is_asked(seen: Evidence, node: str, since: float, off: float) -> bool:
    return (
        any(c.kind != "resume" and node in c.nodes and since <= c.began < off for c in seen.calls)
        or any(whose == node and since < at < off + _CLOSE for whose, at in seen.outside)
        or any(
            node in command.words
            and command.words[0] in _POWERS_OFF
            and since < command.ended
            and command.began < off
            for command in seen.commands
        )
        or any(
            (step.node, step.transition, step.origin) == (node, "accepted", "operator")
            and step.kind != "resume"
            and since < step.asked + _STEPPED
            and step.asked - _STEPPED < off
            for step in seen.steps
        )
        or any(
            end.made
            and end.began < off
            and not _was_used(seen, node, started(seen, end.began), off)
            for end in forgets(seen, since)
        )
    )


def _was_used(seen: Evidence, node: str, since: float, until: float) -> bool:
    """Whether a task began there: Slurm knew that the node was on."""
    return any(task.node == node and since < task.began < until for task in seen.beats)
