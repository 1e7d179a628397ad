"""What the demo shows at one moment, gathered from Slurm, the cloud and the audit log."""

from dataclasses import dataclass

import sqlalchemy as sa

from tests.testbed.cluster import Cluster
from workers.audit.queries import Entry, Filter, find
from workers.store.database import reading

_SLURM_WORDS = (
    ("DOWN", "failed"),
    ("POWERING_UP", "lighting"),
    ("POWERING_DOWN", "going out"),
    ("POWERED_DOWN", "out"),
)


@dataclass(frozen=True)
class Lamp:
    """A node.

    Attributes:
        light: lit, lighting, going out, out or failed: Slurm's view in one word.
        slurm: Slurm's own words.
        cloud: Nova's status, with the task where one runs.
    """

    node: str
    light: str
    slurm: str
    cloud: str


@dataclass(frozen=True)
class Sight:
    """One moment; `events` in the order they were recorded."""

    lamps: tuple[Lamp, ...]
    job: str
    events: tuple[Entry, ...]


def look(cluster: Cluster, audit: sa.Engine, job_id: int) -> Sight:
    """Gather it."""
    servers = cluster.cloud.servers()
    states = cluster.slurm.node_states()
    with reading(audit) as connection:
        events = find(connection, Filter(limit=1000))
    return Sight(
        lamps=tuple(
            Lamp(
                node=node,
                light=_light(states[node]),
                slurm="+".join(sorted(states[node] - {"CLOUD"})),
                cloud=_cloud(servers[node].status, servers[node].task_state),
            )
            for node in cluster.slurm.settings.node_names
        ),
        job=cluster.slurm.job_state(job_id),
        events=tuple(events),
    )


def _light(state: frozenset[str]) -> str:
    return next((word for flag, word in _SLURM_WORDS if flag in state), "lit")


def _cloud(status: str, task: str | None) -> str:
    return status if task is None else f"{status} ({task})"
