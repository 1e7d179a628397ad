"""Read what the demo shows at one moment from Slurm, the cloud and the audit."""

from dataclasses import dataclass

import sqlalchemy as sa

from tests.testbed.cluster import Cluster
from workers.audit.queries import Entry, Filter, find
from workers.store.database import reading

# The first flag that a node's state has decides.
_LIGHTS = (
    ("DOWN", "failed"),
    ("POWERING_UP", "lighting"),
    ("POWERING_DOWN", "going out"),
    ("POWERED_DOWN", "out"),
)


@dataclass(frozen=True)
class NodeLamp:
    """A node.

    Attributes:
        light: lit, lighting, going out, out or failed, by Slurm's state.
        slurm: the state as Slurm prints it.
        cloud: Nova's status, with the task state if there is one.
    """

    node: str
    light: str
    slurm: str
    cloud: str


@dataclass(frozen=True)
class DemoState:
    """Nodes, job state and events at one moment; `events` in the order of the audit."""

    lamps: tuple[NodeLamp, ...]
    job: str
    events: tuple[Entry, ...]


def read_state(cluster: Cluster, audit: sa.Engine, job_id: int) -> DemoState:
    """Read the present state."""
    servers = cluster.cloud.servers()
    states = cluster.slurm.node_states()
    with reading(audit) as connection:
        events = find(connection, Filter(limit=1000))
    return DemoState(
        lamps=tuple(
            NodeLamp(
                node=node,
                light=next((light for flag, light in _LIGHTS if flag in states[node]), "lit"),
                slurm="+".join(sorted(states[node] - {"CLOUD"})),
                cloud=_cloud(servers[node].status, servers[node].task_state),
            )
            for node in cluster.slurm.settings.node_names
        ),
        job=cluster.slurm.job_state(job_id),
        events=tuple(events),
    )


def _cloud(status: str, task: str | None) -> str:
    return status if task is None else f"{status} ({task})"
