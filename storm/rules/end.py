"""Rules about the end of a storm: servers, queues, memory, logs; and whether all was looked at."""

from collections import Counter
from collections.abc import Iterator

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
# States of a node that needs no server.
_OFF = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})
# Memory: growth from the middle of the storm to its end.
_GROWTH, _SLACK = 1.25, 24.0


def enough(seen: Evidence) -> Iterator[Violation]:
    """Nothing is in order because nobody looked: each kind of evidence is there."""
    for name in _LEFT:
        if not getattr(seen, name):
            yield Violation(EVIDENCE, "", f"no {name}")
    for queue in sorted(QUEUES - {queue.name for queue in seen.queues}):
        yield Violation(EVIDENCE, queue, "the broker has no such queue")
    for process in sorted(PROCESSES - {name for name, sizes in seen.memory.items() if sizes}):
        yield Violation(EVIDENCE, process, "its memory was never measured")


def final(seen: Evidence) -> Iterator[Violation]:
    """A node that Slurm has powered down has no running server; one in use has one; all are in service."""
    running = Counter(server.node for server in seen.servers if server.powered)
    for node, state in seen.states.items():
        count, said = running[node], "+".join(sorted(state))
        if node in seen.named:
            continue  # `lamplighter drift` tells the operator
        if "DRAIN" in state or {"DOWN", "POWERED_DOWN"} <= state:
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


def queues(seen: Evidence) -> Iterator[Violation]:
    """Queues are drained; each has a consumer, except retry tiers and the dead letters."""
    for queue in seen.queues:
        if queue.name in _UNREAD:
            continue
        if queue.messages:
            yield Violation(QUEUE, queue.name, f"{queue.messages} messages")
        if not queue.consumers and queue.name not in _WAITING:
            yield Violation(QUEUE, queue.name, "no consumer")


def memory(seen: Evidence) -> Iterator[Violation]:
    """No process has grown."""
    for process, sizes in seen.memory.items():
        half = len(sizes) // 2
        if half < 5:  # noqa: PLR2004 - too few to tell
            continue
        before, after = max(sizes[:half]), max(sizes[half:])
        if after > before * _GROWTH + _SLACK:
            yield Violation(MEMORY, process, f"from {before:.0f} to {after:.0f} MiB")


def rest(seen: Evidence) -> Iterator[Violation]:
    """The audit verifies, no log has a traceback, and all came to rest."""
    code, words = seen.verify
    if code:
        yield Violation(AUDIT, "", words)
    for line in seen.tracebacks:
        yield Violation(TRACEBACK, "", line)
    for line in seen.unsettled:
        yield Violation(UNREST, "", line)
