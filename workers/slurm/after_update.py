"""Decides what to remember of a node after Slurm was updated. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from schemas.commands import Kind
from schemas.events import RequestEvent, Transition
from workers.config.tables import SlurmSettings
from workers.process.doubling import doubled
from workers.slurm.causes import GROUP_CAUSES, reason
from workers.slurm.decide import waits_for_cloud
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.updates import SlurmUpdate, UpdateKind

# The generation of a boot whose failure Slurm shows and nobody has remembered.
UNKNOWN = 0
_NS = 1_000_000_000
_CHECK_AGAIN = 2 * _NS
_CHECK_POWER_DOWN = 30 * _NS


def failures_before(event: RequestEvent, known: NodeMemory | None) -> int:
    """How many boots of the node failed in a row before the boot that an event is about."""
    if known is None:
        return 0
    same = known.generation == event.generation or _came_before(event, known)
    counted = same and known.failed_at > 0
    return known.failures - 1 if counted else known.failures


def _came_before(event: RequestEvent, known: NodeMemory) -> bool:
    """Whether an event is about the boot that failed, of which nobody knows which it was, or an earlier one."""
    return known.generation == UNKNOWN and event.generation <= known.failed_at


def returns_at(failed_at: int, failures: int, settings: SlurmSettings) -> int:
    """When a node returns to service, in ns; `failures` in a row include the last one."""
    wait = doubled(settings.return_after, failures, settings.return_at_most)
    return failed_at + int(wait * _NS)


def after_event(
    event: RequestEvent,
    update: SlurmUpdate,
    known: NodeMemory | None,
    settings: SlurmSettings,
    now: int,
) -> NodeMemory | None:
    """What to remember of a node after an event; None if nothing changes.

    `update` is what was reported to Slurm for it, `known` what is remembered so far; `now` is in ns
    since the epoch.
    """
    if known is not None and known.generation > event.generation:
        return None
    if update.kind.fails_boot:
        return _failed(event, update, known, settings, now)
    if known is not None and _came_before(event, known):
        return None
    if waits_for_cloud(event):
        return _waiting(event, known, settings, now)
    completed = event.kind is Kind.RESUME and event.transition is Transition.COMPLETED
    if known is None or not completed:
        return None
    # slurmd may still fail to register in time, and that would be one more failure in a row
    due_at = _happened(event, now) + int(2 * settings.resume_timeout * _NS)
    return replace(known, generation=event.generation, due=Due.FORGET, due_at=due_at)


def _happened(event: RequestEvent, now: int) -> int:
    """When an event happened: after its request, which slurmctld's host has stamped, and before now.

    The clock of its sender, a power worker, may be ahead of ours or behind it.
    """
    return min(max(event.time, event.generation), now)


def _failed(
    event: RequestEvent,
    update: SlurmUpdate,
    known: NodeMemory | None,
    settings: SlurmSettings,
    now: int,
) -> NodeMemory | None:
    if known is not None and known.generation == event.generation and known.failed_at:
        return None  # reported twice, failed once
    failures = failures_before(event, known) + 1
    if update.kind is UpdateKind.GIVE_BACK:
        # the node is in service; its failure counts for a while
        due, due_at = Due.FORGET, now + int(settings.return_at_most * _NS)
    else:
        due, due_at = Due.RETURN, returns_at(now, failures, settings)
    return NodeMemory(
        node=event.node,
        generation=event.generation,
        failures=failures,
        due=due,
        due_at=due_at,
        error=event.error,
        reason=update.reason,
        failed_at=now,
        jobs=tuple(sorted(update.jobs)),
    )


def _waiting(
    event: RequestEvent, known: NodeMemory | None, settings: SlurmSettings, now: int
) -> NodeMemory:
    due_at = _happened(event, now) + int(settings.give_back_after * _NS)
    if known and (known.generation, known.due) == (event.generation, Due.GIVE_BACK):
        due_at = min(due_at, known.due_at)  # it has waited for something else before
    return NodeMemory(
        node=event.node,
        generation=event.generation,
        failures=known.failures if known else 0,
        due=Due.GIVE_BACK,
        due_at=due_at,
        error=event.error,
        reason=reason(event.cause),
        jobs=tuple(sorted(job.job_id for job in event.jobs)),
    )


def after_due(
    memory: NodeMemory, update: SlurmUpdate, settings: SlurmSettings, now: int
) -> NodeMemory | None:
    """What to remember of a node that was due, or None for nothing; `now` in ns since the epoch."""
    if update.kind is UpdateKind.WAIT:
        return replace(memory, due_at=now + _CHECK_AGAIN)
    if update.kind is UpdateKind.POWER_DOWN:
        return replace(memory, due_at=now + _CHECK_POWER_DOWN)
    # a node that was given back is remembered, so that its jobs are reported even after a crash
    if update.kind is UpdateKind.GIVE_BACK or (
        update.kind is UpdateKind.RETURN and memory.failures
    ):
        return replace(memory, due=Due.FORGET, due_at=now + int(settings.return_at_most * _NS))
    return None


def returning_sooner(
    returning: Iterable[NodeMemory],
    booted: Iterable[str],
    groups: Mapping[str, str],
    settings: SlurmSettings,
    now: int,
) -> list[NodeMemory]:
    """The nodes that return sooner because another node of their group has booted.

    The problem of the whole group is over; one cool-down applies all the same.

    `returning` are the nodes that are out of service; `groups` has the group of each node; `now` is
    in ns since the epoch.
    """
    healthy = {groups.get(node) for node in booted} - {None}
    sooner = []
    for memory in returning:
        due_at = max(now, returns_at(memory.failed_at, 1, settings))
        if (
            groups.get(memory.node) in healthy
            and memory.error in GROUP_CAUSES
            and due_at < memory.due_at
        ):
            sooner.append(replace(memory, due_at=due_at))
    return sooner
