"""What is to be remembered after Slurm was told. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from schemas.commands import Kind
from schemas.events import RequestEvent, Transition
from workers.slurm.causes import OF_THE_GROUP, reason
from workers.slurm.decide import Policy, SlurmUpdate, UpdateKind, returns_at, waits_for_cloud
from workers.slurm.node_memory import Due, NodeMemory

_NS = 1_000_000_000


def failures_before(told: RequestEvent, known: NodeMemory | None) -> int:
    """How often the node's boots had failed in a row before the one that an event is about."""
    if known is None:
        return 0
    counted = known.generation == told.generation and known.failed_at > 0
    return known.failures - 1 if counted else known.failures


def after_event(
    told: RequestEvent,
    action: SlurmUpdate,
    known: NodeMemory | None,
    policy: Policy,
    now: int,
) -> NodeMemory | None:
    """What is to be remembered of a node after an event; None where nothing changes.

    Args:
        told: the event.
        action: what Slurm was told for it.
        known: what is remembered so far.
        policy: the site's.
        now: ns since the epoch.
    """
    if known is not None and known.generation > told.generation:
        return None
    if action.step.fails:
        return _failed(told, action, known, policy, now)
    if waits_for_cloud(told):
        return _waits(told, known, policy)
    if known is None or told.kind is not Kind.RESUME or told.transition is not Transition.COMPLETED:
        return None
    # lit is not yet registered: Slurm may still give it up, and that would be one more in a row
    due_at = told.time + int(2 * policy.resume_timeout * _NS)
    return replace(known, generation=told.generation, due=Due.FORGET, due_at=due_at)


def _failed(
    told: RequestEvent, action: SlurmUpdate, known: NodeMemory | None, policy: Policy, now: int
) -> NodeMemory | None:
    if known is not None and known.generation == told.generation and known.failed_at:
        return None  # told twice, failed once
    failures = failures_before(told, known) + 1
    if action.step is UpdateKind.GIVE_BACK:
        # it is in service; what it has done counts against it for a while
        due, due_at = Due.FORGET, now + int(policy.return_at_most * _NS)
    else:
        due, due_at = Due.RETURN, returns_at(now, failures, policy)
    return NodeMemory(
        node=told.node,
        generation=told.generation,
        failures=failures,
        due=due,
        due_at=due_at,
        error=told.cause.error if told.cause else "",
        reason=action.reason,
        failed_at=now,
        jobs=tuple(sorted(action.jobs)),
    )


def _waits(told: RequestEvent, known: NodeMemory | None, policy: Policy) -> NodeMemory:
    return NodeMemory(
        node=told.node,
        generation=told.generation,
        failures=known.failures if known else 0,
        due=Due.GIVE_BACK,
        due_at=told.time + int(policy.give_back_after * _NS),
        error=told.cause.error if told.cause else "",
        reason=reason(told.cause),
        jobs=tuple(sorted(job.job_id for job in told.jobs)),
    )


def hastened(
    returning: Iterable[NodeMemory],
    lit: Iterable[str],
    groups: Mapping[str, str],
    policy: Policy,
    now: int,
) -> list[NodeMemory]:
    """The nodes that return sooner because another of their group has booted.

    What was wrong with the whole group is over; one cool-down is kept all the same.

    Args:
        returning: the nodes that are out of service.
        lit: nodes that have booted just now.
        groups: each node's.
        policy: the site's.
        now: ns since the epoch.
    """
    well = {groups.get(node) for node in lit} - {None}
    sooner = []
    for memory in returning:
        due_at = max(now, returns_at(memory.failed_at, 1, policy))
        if (
            groups.get(memory.node) in well
            and memory.error in OF_THE_GROUP
            and due_at < memory.due_at
        ):
            sooner.append(replace(memory, due_at=due_at))
    return sooner
