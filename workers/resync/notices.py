"""What people must hear of: drift that needs a person, and what the resync worker cannot see. Pure."""

import time

from schemas.events import Notice
from workers.resync.drift import Drift
from workers.resync.plan import Found

NO_SNAPSHOT = "run lamplighter worker snapshot on slurmctld's host, as SlurmUser"
_REMEDIES = {
    Drift.BROKEN: "look at its server; lamplighter nodes retire deletes one that is ours",
    Drift.AMBIGUOUS: "rename or delete all but one of them",
    Drift.SET_ASIDE: "start its server, or power the node down in Slurm",
    Drift.NOT_UNDERSTOOD: "name it in slurm.conf, or take it out of lamplighter.toml",
    Drift.STRAY: "delete it, or name its node in a group of its cloud",
    Drift.UNASKED: "power it down in Slurm: it was retired",
}


def drift(cluster: str, found: Found) -> Notice:
    """A drift that is not repaired by itself."""
    return Notice(
        name="alarm.drift",
        cluster=cluster,
        subject=found.subject,
        key=f"{found.action.drift}/{found.memory.since}",
        time=time.time_ns(),
        message=f"{found.action.drift}: {found.words}",
        remedy=_REMEDIES.get(found.action.drift, "lamplighter release, when you are done with it"),
        details={"drift": str(found.action.drift), "step": str(found.action.step)},
    )


def doubt(cluster: str, cloud: str, generation: int) -> Notice:
    """A listing that nobody believes."""
    return Notice(
        name="alarm.cloud_doubted",
        cluster=cluster,
        subject=cloud,
        key=str(generation),
        time=time.time_ns(),
        message="the cloud lists less than half of the servers that should run there",
        remedy="if they are gone for good, lamplighter resume them; else see to the cloud",
        details={},
    )


def blind(cluster: str, generation: int, said: str) -> Notice:
    """Slurm's view is missing."""
    return Notice(
        name="alarm.no_snapshot",
        cluster=cluster,
        subject=cluster,
        key=str(generation),
        time=time.time_ns(),
        message=f"{said}: drift is not repaired, late suspends wait",
        remedy=NO_SNAPSHOT,
        details={},
    )
