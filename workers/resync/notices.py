"""What people must hear of: drift that needs a person, and what the resync worker cannot see. Pure."""

import json
import time
from collections.abc import Mapping, Sequence

from schemas.envelope import rfc3339
from schemas.events import Notice
from workers.resync.drift import Drift, RepairStep
from workers.resync.plan import Found

NO_SNAPSHOT = "run lamplighter worker snapshot on slurmctld's host, as SlurmUser"
_MOST = 20
_REMEDIES = {
    Drift.BROKEN: "look at its server; lamplighter nodes retire deletes one that is ours",
    Drift.AMBIGUOUS: "rename or delete all but one of them",
    Drift.SET_ASIDE: "start its server, or power the node down in Slurm",
    Drift.NOT_UNDERSTOOD: "name it in slurm.conf, or take it out of lamplighter.toml",
    Drift.STRAY: "delete it, or name its node in a group of its cloud",
    Drift.UNASKED: "power it down in Slurm: an operator has put it out, or retired it",
}


def drifts(cluster: str, found: Sequence[Found]) -> list[Notice]:
    """What needs a person; when a whole site differs, the first few and how many more.

    Of these, each stray is among the details, for those who count: its id, and what its own notice would say.
    """
    told = [drift(cluster, one) for one in found[:_MOST]]
    more = found[_MOST:]
    if more:
        told.append(
            Notice(
                name="alarm.drift",
                cluster=cluster,
                subject=cluster,
                key=f"{more[0].memory.since}/{len(more)}",
                time=time.time_ns(),
                message=f"{len(more)} more differ",
                remedy="lamplighter drift",
                details={
                    one.subject: json.dumps(_details(one))
                    for one in more
                    if one.action.drift is Drift.STRAY
                },
            )
        )
    return told


def drift(cluster: str, found: Found) -> Notice:
    """A drift that is not repaired by itself."""
    return Notice(
        name="alarm.drift",
        cluster=cluster,
        subject=found.subject,
        key=f"{found.action.drift}/{found.action.step}/{found.memory.since}",
        time=time.time_ns(),
        message=f"{found.action.drift}: {found.words}",
        remedy=_remedy(found),
        details=_details(found),
    )


def _details(found: Found) -> Mapping[str, str]:
    details = {
        "drift": str(found.action.drift),
        "step": str(found.action.step),
        "since": rfc3339(found.memory.since),
    }
    if found.server is not None:
        details |= {"cloud": found.cloud, "node": found.server.node or ""}
    return details


def _remedy(found: Found) -> str:
    if found.action.step is RepairStep.DELETE:
        return "none is needed: it is deleted, as resync.delete_strays says"
    return _REMEDIES.get(found.action.drift, "lamplighter release, when you are done with it")


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
