"""The installation at one moment, as the first page shows it. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ops.console.attention import is_out_of_service
from ops.site.findings import Finding
from ops.site.spooled import SpoolStatus
from workers.broker.depths import QueueDepth
from workers.broker.topology import DEAD_LETTER_QUEUE, RETRY_TIERS
from workers.resync.slurm_conf import ConfDifference
from workers.store.heartbeats import Heartbeat
from workers.store.overview import NodePower
from workers.store.power_state import PowerState
from workers.store.requests import Round

_SHOWN_OPEN = 8


@dataclass(frozen=True, slots=True)
class EventLine:
    """A record of the audit as one line; time in ns since the epoch; strings are not escaped."""

    time: int
    event: str
    subject: str | None
    request_id: str | None
    details: str | None


@dataclass(frozen=True, slots=True)
class SiteView:
    """The data of the first page; times are ns since the epoch.

    Attributes:
        groups: each group's nodes in the configuration's order; "" holds nodes without a group.
        queues: None if the broker does not answer.
        open: requests in progress, oldest first.
        logins: by cloud, when its refresh token expires; None if unknown.
        events: the latest events; None if the audit store does not answer.
        slurm_states: node states in the newest snapshot, as scontrol prints them.
        slurm_conf: differences between slurm.conf and lamplighter.toml.
        in_store: what is wrong by what the state store holds.
        drifts: number of drifts from what Slurm wants.
        node_drifts: the drift of a node's power, by node.
        held: the nodes that are on hold.
        spools: what waits on the console's host.
        store_away: whether the state store does not answer; then only the nodes' names are known.
    """

    taken_at: int
    groups: Mapping[str, tuple[NodePower, ...]] = field(default_factory=dict)
    queues: tuple[QueueDepth, ...] | None = None
    workers: tuple[Heartbeat, ...] = ()
    open: tuple[Round, ...] = ()
    logins: Mapping[str, int | None] = field(default_factory=dict)
    events: tuple[EventLine, ...] | None = ()
    problems: tuple[str, ...] = ()
    slurm_states: Mapping[str, str] = field(default_factory=dict)
    slurm_conf: tuple[ConfDifference, ...] = ()
    in_store: tuple[Finding, ...] = ()
    drifts: int = 0
    node_drifts: Mapping[str, str] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    spools: tuple[SpoolStatus, ...] = ()
    store_away: bool = False

    @property
    def nodes(self) -> list[NodePower]:
        """All nodes in the order of the page; a node's index is its lamp's number there."""
        return [node for group in self.groups.values() for node in group]

    @property
    def dead_letters(self) -> int:
        """The number of dead letters."""
        found = (q.ready for q in self.queues or () if q.name == DEAD_LETTER_QUEUE)
        return next(found, None) or 0

    @property
    def retrying(self) -> int:
        """The number of requests that wait in the retry tiers."""
        return sum(q.ready or 0 for q in self.queues or () if q.name in RETRY_TIERS)

    @property
    def oldest(self) -> list[tuple[Round, PowerState]]:
        """The oldest requests in progress, as many as the page shows, with their nodes' states."""
        powers = {node.node: node.power for node in self.nodes}
        # a request may be stored before its node is
        return [(one, powers.get(one.node, PowerState.OFF)) for one in self.open[:_SHOWN_OPEN]]

    @property
    def out_of_service(self) -> int:
        """The number of nodes on which Slurm starts no job."""
        states = (self.slurm_states.get(node.node, "") for node in self.nodes)
        return sum(map(is_out_of_service, states))

    def counts(self, group: str | None = None) -> Counter[PowerState]:
        """Count the nodes of one group, or of all groups, by power state."""
        nodes = self.nodes if group is None else self.groups.get(group, ())
        return Counter(node.power for node in nodes)


def same_nodes(before: SiteView, after: SiteView) -> bool:
    """Return whether two views have the same nodes in the same order."""
    return {g: [node.node for node in nodes] for g, nodes in before.groups.items()} == {
        g: [node.node for node in nodes] for g, nodes in after.groups.items()
    }


def with_drift(node: NodePower, drift: str | None) -> NodePower:
    """Return a node as failed if it has drifted: the stored observation is out of date then."""
    in_progress = node.power in {PowerState.POWERING_ON, PowerState.POWERING_OFF}
    return node if drift is None or in_progress else replace(node, power=PowerState.FAILED)
