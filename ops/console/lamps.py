"""Show a node's power state as a lamp. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ops.cli.terminal import plural
from ops.console.view import SiteView
from workers.store.overview import NodePower
from workers.store.power_state import PowerState


@dataclass(frozen=True, slots=True)
class Lamp:
    """A lamp: its CSS class and its words."""

    css: str
    words: str


LAMPS: Mapping[PowerState, Lamp] = {
    PowerState.ON: Lamp("lit", "lit"),
    PowerState.POWERING_ON: Lamp("lighting", "lighting"),
    PowerState.POWERING_OFF: Lamp("going_out", "going out"),
    PowerState.OFF: Lamp("out", "out"),
    PowerState.FAILED: Lamp("failed", "failed"),
}
_UNKNOWN = Lamp("unknown", "unknown")


def lamp(view: SiteView, node: NodePower) -> Lamp:
    """Return a node's lamp; its words include the reason of a failure and Slurm's state."""
    if view.store_away:
        return _UNKNOWN
    found = LAMPS[node.power]
    if node.power is PowerState.FAILED:
        drift = view.node_drifts.get(node.node)
        seen = f"observed {node.observed}" if node.observed else "never observed"
        words = f"drift from Slurm: {drift}" if drift else f"wanted {node.desired}, {seen}"
        found = replace(found, words=words)
    if node.node in view.held:
        found = replace(found, words=f"{found.words}; on hold")
    slurm = view.slurm_states.get(node.node)
    return replace(found, words=f"{found.words}; Slurm: {slurm}") if slurm else found


def changed_lamps(before: SiteView, after: SiteView) -> list[tuple[int, str, str]]:
    """Return number, CSS class and words of each lamp that changed between views of the same nodes."""
    pairs = zip(before.nodes, after.nodes, strict=True)
    lamps = ((lamp(before, old), lamp(after, new)) for old, new in pairs)
    return [(number, new.css, new.words) for number, (old, new) in enumerate(lamps) if old != new]


def summary(view: SiteView) -> str:
    """Return the state of all nodes as one sentence."""
    if view.store_away:
        return "The state of the nodes is unknown"
    counts = view.counts()
    total = plural(len(view.nodes), "node")
    parts = [f"{counts[PowerState.ON]:,} of {total} lit"]
    others = (PowerState.POWERING_ON, PowerState.POWERING_OFF, PowerState.FAILED)
    parts += [f"{counts[power]:,} {LAMPS[power].words}" for power in others if counts[power]]
    return ", ".join(parts)
