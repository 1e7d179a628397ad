"""Decides about nodes that are due: they waited too long for a cloud, or their cool-down is over. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from workers.slurm.decide import RequestedState
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import NodeState
from workers.slurm.updates import SlurmUpdate, UpdateKind


def due_updates(
    memories: Sequence[NodeMemory],
    states: Mapping[str, NodeState],
    requested: Mapping[str, RequestedState],
    dry: Collection[str] = (),
) -> list[tuple[NodeMemory, SlurmUpdate]]:
    """The updates of the nodes that are due; nodes in a dry run wait until it ends."""
    return [
        (memory, SlurmUpdate(UpdateKind.WAIT, memory.node, "its group is in a dry run"))
        if memory.node in dry
        else (memory, _update(memory, states.get(memory.node), requested.get(memory.node)))
        for memory in memories
    ]


def _update(
    memory: NodeMemory, slurm: NodeState | None, requested: RequestedState | None
) -> SlurmUpdate:
    if memory.due is Due.RETURN:
        return return_to_service(memory.node, memory.reason, slurm, requested)
    if memory.due is Due.FORGET:
        return SlurmUpdate(UpdateKind.NOTHING, memory.node, "its failures no longer count")
    update = give_back(memory.node, memory.generation, memory.reason, slurm, requested)
    return replace(update, jobs=frozenset(memory.jobs))


def give_back(
    node: str,
    generation: int,
    reason: str,
    slurm: NodeState | None,
    requested: RequestedState | None,
) -> SlurmUpdate:
    """The update of a node that has waited long enough for an unavailable cloud."""
    if slurm is None or requested is None or requested.generation != generation:
        return SlurmUpdate(UpdateKind.NOTHING, node, "the node has a newer request")
    if requested.leased or requested.held:
        return SlurmUpdate(UpdateKind.WAIT, node, "a power worker works on it, or it is on hold")
    if not slurm.booting or slurm.down:
        return SlurmUpdate(UpdateKind.NOTHING, node, "Slurm does not wait for it")
    return SlurmUpdate(UpdateKind.GIVE_BACK, node, "its cloud is unavailable for long", reason)


def return_to_service(
    node: str, reason: str, slurm: NodeState | None, requested: RequestedState | None = None
) -> SlurmUpdate:
    """The update of a node whose cool-down is over."""
    if requested is not None and requested.held:
        return SlurmUpdate(UpdateKind.WAIT, node, "it is on hold")
    if slurm is None or not slurm.down or slurm.reason != reason:
        return SlurmUpdate(UpdateKind.NOTHING, node, "another reason is set, or it is in service")
    if not slurm.powered_down:
        return SlurmUpdate(UpdateKind.WAIT, node, "it is still powering down")
    return SlurmUpdate(UpdateKind.RETURN, node, "its cool-down is over")
