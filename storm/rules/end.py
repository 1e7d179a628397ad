"""Rules about the end of a storm: servers, queues, memory, logs; and whether all was looked at."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from statistics import median

from storm.evidence import Evidence
from storm.rules.violation import (
    AUDIT,
    EVIDENCE,
    LEAKED,
    MEMORY,
    QUEUE,
    SECOND,
    TRACEBACK,
    UNREST,
    WRONG,
    Violation,
)

# Nobody consumes the dead letters, and without a webhook no notifications.
_UNREAD = frozenset({"power.dlq", "notify"})
_WAITING = frozenset(f"power.retry.{name}" for name in ("5s", "30s", "2m", "10m"))
QUEUES = _UNREAD | _WAITING | {"power.resume", "power.suspend", "audit", "token.rpc"}
QUEUES |= {"slurm.events", "resync"}
PROCESSES = frozenset({"power", "slurm", "resync", "snapshot", "relay", "audit", "tokens"})
PROCESSES |= {"second power"}
# What a storm always leaves.
_LEFT = (
    *("calls", "steps", "ledger", "beats", "servers", "states", "injected", "batch"),
    *("suspending", "ctld_starts"),
)
# Two power workers consume each of these.
_TWICE = frozenset({"power.resume", "power.suspend"})
# States of a node that needs no server.
_OFF = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})
# What each strategy leaves of the server of a node that it has powered off; deleted ones are gone.
_LEFT_OFF = {"stop": {"SHUTOFF"}, "shelve": {"SHELVED", "SHELVED_OFFLOADED"}, "delete": set[str]()}
_POWERED_OFF = frozenset({"suspend", "resume_fail"})
# Memory: growth over the storm, in parts and MiB; and how often it must have been measured.
_GROWTH, _SLACK, _SAMPLES = 1.25, 24.0, 10


def enough(seen: Evidence) -> Iterator[Violation]:
    """Nothing is in order because nobody looked: each kind of evidence is there."""
    for name in _LEFT:
        if not getattr(seen, name):
            yield Violation(EVIDENCE, "", f"no {name}")
    for queue in sorted(QUEUES - {queue.name for queue in seen.queues}):
        yield Violation(EVIDENCE, queue, "the broker has no such queue")
    for process in sorted(PROCESSES):
        if (times := len(seen.memory.get(process, ()))) < _SAMPLES:
            yield Violation(EVIDENCE, process, f"its memory was measured {times} times")
    called = set(chain.from_iterable(call.nodes for call in seen.calls))
    for node in sorted(called - seen.states.keys() if seen.states else ()):
        yield Violation(
            EVIDENCE, node, "hooks were called for it, and Slurm's state of it is not there"
        )
    held = sum(queue.messages for queue in seen.queues if queue.name == "power.dlq")
    if held != len(seen.letters):
        said = f"{held} messages, but {len(seen.letters)} dead letters are listed"
        yield Violation(EVIDENCE, "power.dlq", said)
    for command in seen.refused:
        yield Violation(EVIDENCE, "", command)


def final(seen: Evidence) -> Iterator[Violation]:
    """A node that Slurm has powered down has no running server; one in use has one; all are in service."""
    running = Counter(server.node for server in seen.servers if server.powered)
    for node, state in seen.states.items():
        count, said = running[node], "+".join(sorted(state))
        if state & _OFF and count:
            yield Violation(LEAKED, node, f"{said}, but {count} servers run")
        elif node in seen.named:
            continue  # `lamplighter drift` tells the operator
        elif state & {"DRAIN", "DOWN", "FAIL"}:
            yield Violation(WRONG, node, f"{said}: out of service, and drift does not say so")
        elif not state & _OFF and count != 1:
            yield Violation(WRONG, node, f"{said}, but {count} servers run")
    for node in sorted({server.node for server in seen.servers} - seen.states.keys()):
        yield Violation(LEAKED, node, "a server of a node that Slurm does not know")
    for node, count in Counter(server.node for server in seen.servers).items():
        if count > 1:
            yield Violation(SECOND, node, f"{count} servers at the end")


def strategies(seen: Evidence) -> Iterator[Violation]:
    """A node whose last request was to power it off, and completed, is left as its strategy leaves it.

    Unless the storm itself has cut its power since: whoever does that stops the server.
    """
    last = {step.node: step for step in seen.steps}
    for server in seen.servers:
        step, strategy = last.get(server.node), seen.strategies.get(server.node)
        if step is None or strategy is None or server.status in _LEFT_OFF[strategy]:
            continue
        if (step.transition, step.kind in _POWERED_OFF) != ("completed", True):
            continue
        if not any(node == server.node and at > step.asked for node, at in seen.outside):
            said = f"{strategy}, but its server is {server.status} after {step.request_id}"
            yield Violation(WRONG, server.node, said, (step.time,))


def queues(seen: Evidence) -> Iterator[Violation]:
    """Queues are drained; each has a consumer, except retry tiers and the dead letters."""
    for queue in seen.queues:
        if queue.name in _UNREAD:
            continue
        if queue.messages:
            yield Violation(QUEUE, queue.name, f"{queue.messages} messages")
        if queue.name not in _WAITING and queue.consumers < 1 + (queue.name in _TWICE):
            yield Violation(QUEUE, queue.name, f"{queue.consumers} consumers")


def memory(seen: Evidence) -> Iterator[Violation]:
    """No process has grown: neither its peak after the middle, nor what it mostly needs.

    The peak of a process that grows steadily is half-way at the middle: its first third tells.
    """
    for process, sizes in seen.memory.items():
        if len(sizes) < _SAMPLES:
            continue
        half, third = len(sizes) // 2, len(sizes) // 3
        for before, after in (
            (max(sizes[:half]), max(sizes[half:])),
            (median(sizes[:third]), median(sizes[-third:])),
        ):
            if after > before * _GROWTH + _SLACK:
                yield Violation(MEMORY, process, f"from {before:.0f} to {after:.0f} MiB")
                break


def rest(seen: Evidence) -> Iterator[Violation]:
    """The audit verifies, no log has a traceback, and all came to rest."""
    code, words = seen.verify
    if code:
        yield Violation(AUDIT, "", words)
    for line in seen.tracebacks:
        yield Violation(TRACEBACK, "", line)
    for line in seen.unsettled:
        yield Violation(UNREST, "", line)
