"""What is due without an event: nodes that have waited too long, and nodes whose cool-down has ended."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from workers.slurm.decide import Newest, Policy, SlurmUpdate, UpdateKind, bring_back, give_back
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import NodeState

_NS = 1_000_000_000
_AGAIN = 2 * _NS


def due_actions(
    memories: Sequence[NodeMemory],
    states: Mapping[str, NodeState],
    newest: Mapping[str, Newest],
    dry: Collection[str] = (),
) -> list[tuple[NodeMemory, SlurmUpdate]]:
    """What Slurm is to be told of the nodes that are due; nothing yet of those in a dry run."""
    rests = "a dry run: it is told when that ends"
    return [
        (
            memory,
            SlurmUpdate(UpdateKind.WAIT, memory.node, rests)
            if memory.node in dry
            else _due(memory, states, newest),
        )
        for memory in memories
    ]


def _due(
    memory: NodeMemory, states: Mapping[str, NodeState], newest: Mapping[str, Newest]
) -> SlurmUpdate:
    state = states.get(memory.node)
    if memory.due is Due.RETURN:
        return bring_back(memory.node, memory.reason, state, newest.get(memory.node))
    if memory.due is Due.FORGET:
        return SlurmUpdate(UpdateKind.NOTHING, memory.node, "its failures are long past")
    action = give_back(
        memory.node, memory.generation, memory.reason, state, newest.get(memory.node)
    )
    return replace(action, jobs=frozenset(memory.jobs))


def after_due(
    memory: NodeMemory, action: SlurmUpdate, policy: Policy, now: int
) -> NodeMemory | None:
    """What is remembered of the node then, or None for nothing; `now` in ns since the epoch."""
    if action.step is UpdateKind.WAIT:
        return replace(memory, due_at=now + _AGAIN)
    # what was given back is remembered, so that whoever goes on after a crash tells of its jobs
    if action.step is UpdateKind.GIVE_BACK or (
        action.step is UpdateKind.RETURN and memory.failures
    ):
        return replace(memory, due=Due.FORGET, due_at=now + int(policy.return_at_most * _NS))
    return None
