"""Decides about nodes that are due: they waited too long for a cloud, or their cool-down is over. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from schemas.events import RequestEvent
from schemas.snapshot import OWN_REASON
from workers.config.tables import SlurmSettings
from workers.slurm.after_update import UNKNOWN, returns_at
from workers.slurm.decide import RequestedState, abandoned_by_slurm, set_aside
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.nodes import NodeState
from workers.slurm.updates import SlurmUpdate, UpdateKind

# Time for the event of a failed boot to be delivered again after a crash, ns: it sets a later return.
_REDELIVERY = 10 * 10**9


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
    if not slurm.booting or slurm.down or set_aside(slurm):
        return SlurmUpdate(UpdateKind.NOTHING, node, "Slurm does not wait for it")
    return SlurmUpdate(UpdateKind.GIVE_BACK, node, "its cloud is unavailable for long", reason)


def return_to_service(
    node: str, reason: str, slurm: NodeState | None, requested: RequestedState | None = None
) -> SlurmUpdate:
    """The update of a node whose cool-down is over.

    slurmctld saves its state every few seconds; if it is killed before that, it has lost an update. So
    the node may not be powered down, or have Slurm's reason in place of ours.
    """
    if requested is not None and requested.held:
        return SlurmUpdate(UpdateKind.WAIT, node, "it is on hold")
    if slurm is None or not slurm.down:
        return SlurmUpdate(UpdateKind.NOTHING, node, "it is in service")
    if slurm.reason != reason and not (abandoned_by_slurm(slurm) and slurm.powered_down):
        return SlurmUpdate(UpdateKind.NOTHING, node, "another reason is set")
    if not slurm.changes_power:
        return SlurmUpdate(UpdateKind.POWER_DOWN, node, "Slurm has lost its POWER_DOWN")
    if not slurm.powered_down:
        return SlurmUpdate(UpdateKind.WAIT, node, "it is still powering down")
    return SlurmUpdate(UpdateKind.RETURN, node, "its cool-down is over")


def never_due(known: Iterable[NodeMemory], settings: SlurmSettings, now: int) -> list[NodeMemory]:
    """What is due later than anything is ever due: our clock was set back since. It is due now."""
    longest = max(settings.return_at_most, settings.give_back_after, 2.0 * settings.resume_timeout)
    latest = now + int(longest * 10**9)
    return [replace(memory, due_at=now) for memory in known if memory.due_at > latest]


def lost_reports(
    rounds: Mapping[str, tuple[int, RequestEvent | None]],
    known: Mapping[str, NodeMemory],
    settings: SlurmSettings,
    now: int,
) -> tuple[dict[str, RequestEvent], list[NodeMemory]]:
    """What slurmctld has lost of our reports about nodes that it still shows as booting.

    `rounds` are the newest requests of these nodes, with their outcomes, and `known` is what is
    remembered of them; `now` is in ns since the epoch.

    Returns:
        The outcomes to report once more, by node; and the nodes that were given back because their
        cloud was away, due once more. Both are decided again before they are reported.
    """
    ended, waiting = {}, []
    for node, (generation, event) in rounds.items():
        memory, given_back = known.get(node), (Due.FORGET, generation)
        may_wait = now < generation + int(settings.resume_timeout * 10**9)
        if event is not None:
            if not 0 <= now - event.time <= _REDELIVERY:  # the sender's clock may be ahead
                ended[node] = event
        elif memory and (memory.due, memory.generation) == given_back and may_wait:
            waiting.append(replace(memory, due=Due.GIVE_BACK, due_at=now))
    return ended, waiting


def not_returned(
    states: Mapping[str, NodeState],
    known: Mapping[str, NodeMemory],
    configured: Collection[str],
    settings: SlurmSettings,
    now: int,
) -> list[NodeMemory]:
    """The nodes that are out of service with our reason although no return is due, with their return.

    Either slurmctld has lost the RESUME that it received, and the node returns soon; or the memory of
    the node was lost, and it returns after one cool-down.

    `states` are the nodes in Slurm, and `known` is what is remembered of all nodes; `now` is in ns
    since the epoch.
    """
    found = []
    for node, state in states.items():
        ours = state.down and not state.booting and state.reason.startswith(OWN_REASON)
        memory = known.get(node)
        if not ours or node not in configured or (memory and memory.due is not Due.FORGET):
            continue
        if memory is None or memory.reason != state.reason:
            # it counts now: its event may be delivered after the return, or never
            failures = memory.failures + 1 if memory else 1
            due_at = returns_at(now, failures, settings)
            one = NodeMemory(node, UNKNOWN, failures, Due.RETURN, due_at, "", state.reason, now)
        else:
            one = replace(memory, due=Due.RETURN, due_at=now + _REDELIVERY)
        found.append(one)
    return found
