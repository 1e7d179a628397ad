"""Creates the notices for operators: drifts that they must repair, and gaps in what is known."""

import json
import time
from collections.abc import Mapping, Sequence

from schemas.envelope import rfc3339
from schemas.notices import Notice
from workers.resync.drift import Drift, RepairStep
from workers.resync.plan import FoundDrift

NO_SNAPSHOT = "run lamplighter worker snapshot on slurmctld's host, as SlurmUser"
_MOST = 20
_REMEDIES = {
    Drift.BROKEN: "check its server; drain the node first if it is in use; lamplighter nodes retire deletes a"
    " server of ours",
    Drift.AMBIGUOUS: "delete the servers that are not its own; lamplighter drift lists them",
    Drift.DEAD: "none, if its server was deleted: it is powered on once its slurmd no longer answers;"
    " otherwise find its server, which no cloud of its group lists",
    Drift.STUCK: "delete its server again, or let the cloud's administrators end the deletion",
    Drift.LEFT_DOWN: "check that lamplighter worker slurm runs, which returns a node with a reason of"
    " Lamplighter; otherwise check its requests, then scontrol update NodeName=NODE State=IDLE",
    Drift.SET_ASIDE: "start its server, or power the node down in Slurm",
    Drift.NOT_UNDERSTOOD: "add the node to slurm.conf, or remove it from lamplighter.toml",
    Drift.STRAY: "delete it, or add its node to a group of its cloud",
    Drift.UNASKED: "power it down in Slurm: an operator has powered it off or retired it",
}


def drifts(cluster: str, found: Sequence[FoundDrift]) -> list[Notice]:
    """The notices of drifts; for very many, the first few and the number of the others.

    The details of the last notice then list each further stray, for reports: its ID, and the details
    that its own notice would have.
    """
    created = [drift(cluster, one) for one in found[:_MOST]]
    more = found[_MOST:]
    if more:
        strays = {
            one.subject: json.dumps(_details(one))
            for one in more
            if one.action.drift is Drift.STRAY
        }
        key = f"{more[0].memory.since}/{len(more)}"
        message = f"{len(more)} more drifts"
        created.append(
            _notice("alarm.drift", cluster, cluster, key, message, "lamplighter drift", strays)
        )
    return created


def drift(cluster: str, found: FoundDrift) -> Notice:
    """The notice of a drift that is not repaired automatically."""
    action = found.action
    key = f"{action.drift}/{action.step}/{found.memory.since}"
    message = f"{action.drift}: {found.words}"
    remedy = _REMEDIES.get(action.drift, "lamplighter release, after the maintenance")
    if action.step is RepairStep.DELETE:
        remedy = (
            "none is needed: it is deleted once no job can be on it: resync.delete_strays is set"
        )
    return _notice("alarm.drift", cluster, found.subject, key, message, remedy, _details(found))


def doubt(cluster: str, cloud: str, generation: int) -> Notice:
    """The notice of a listing that is too short to be believed."""
    message = "the cloud lists less than half of the servers that should run there"
    remedy = "if they are really gone, run lamplighter resume for them; otherwise check the cloud"
    return _notice("alarm.cloud_doubted", cluster, cloud, str(generation), message, remedy)


def no_snapshot(cluster: str, generation: int, text: str) -> Notice:
    """The notice that Slurm's state is unknown."""
    message = f"{text}: drifts are not repaired, late suspends wait"
    return _notice("alarm.no_snapshot", cluster, cluster, str(generation), message, NO_SNAPSHOT)


def _notice(  # noqa: PLR0913, PLR0917 - the fields of a notice
    name: str,
    cluster: str,
    subject: str,
    key: str,
    message: str,
    remedy: str,
    details: Mapping[str, str] | None = None,
) -> Notice:
    return Notice(
        name=name,
        cluster=cluster,
        subject=subject,
        key=key,
        time=time.time_ns(),
        message=message,
        remedy=remedy,
        details=details or {},
    )


def _details(found: FoundDrift) -> Mapping[str, str]:
    details = {
        "drift": str(found.action.drift),
        "step": str(found.action.step),
        "since": rfc3339(found.memory.since),
    }
    if found.server is not None:
        details |= {"cloud": found.cloud, "node": found.server.node or ""}
    return details
