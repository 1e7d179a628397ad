"""Turns a survey into repair requests, and into what is remembered. Pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from schemas.commands import Kind, PowerCommand, WaitingJob
from schemas.server import Server
from schemas.snapshot import Snapshot
from workers.config.tables import ResyncSettings, SlurmSettings
from workers.resync.decide import DriftPast, decide_drift, decide_stray, find_drift
from workers.resync.drift import Drift, DriftAction, RepairStep, ServerState
from workers.resync.drift_memory import DriftMemory
from workers.resync.survey import Survey, SurveyedNode

_NS = 1_000_000_000
_KINDS = {RepairStep.RESUME: Kind.RESUME, RepairStep.SUSPEND: Kind.SUSPEND}
# Part of the note of every request that powers an orphan off.
ORPHAN_NOTE = f": {Drift.ORPHAN}; Slurm: "
# A deletion that hangs, and a node that was not returned to service: both last some time before.
_ONCE = tuple(DriftAction(one, RepairStep.REPORT) for one in (Drift.STUCK, Drift.LEFT_DOWN))


@dataclass(frozen=True, slots=True)
class FoundDrift:
    """A drift that was found.

    Attributes:
        subject: the node; for a stray or surplus server, its ID.
        memory: since when it is known, this time included.
        new: whether it was found for the first time.
        place: the node; None for a stray or surplus server.
        cloud, server: of a stray or surplus server.
    """

    subject: str
    action: DriftAction
    memory: DriftMemory
    new: bool
    place: SurveyedNode | None = None
    cloud: str = ""
    server: Server | None = None

    @property
    def words(self) -> str:
        """The drift as text; a server's name is untrusted."""
        if self.place is None:
            server = self.server
            about = f": {server.name}, {server.status}" if server else ""
            if server and self.action.drift is Drift.SURPLUS:
                what = f"has the tags of {server.node} but is not its own server"
            else:
                what = "has our tags but belongs to no node"
            return f"server {self.subject} on {self.cloud} {what}{about}"
        known, slurm = self.place.known, self.place.slurm
        return (
            f"Slurm: {slurm.state if slurm else 'unknown'}; wanted: {known.desired or 'nothing'}; "
            f"cloud: {self.place.cloud_state}"
        )


def plan(
    survey: Survey, known: Mapping[str, DriftMemory], settings: ResyncSettings, now: int
) -> Sequence[FoundDrift]:
    """The drifts, and what to do about them; `now` in ns since the epoch."""
    found = []
    for place in survey.nodes:
        action = find_drift(place.known)
        if action.drift in {Drift.NONE, Drift.UNSEEN}:
            continue
        memory, new = _memory(known, place.node, action.drift, now)
        action = decide_drift(place.known, _past(memory, now), settings)
        found.append(FoundDrift(place.node, action, memory, new, place))
    # a surplus server that is not to be deleted is reported with its node
    surplus = survey.surplus if settings.delete_strays else ()
    for kind, servers in ((Drift.STRAY, survey.strays), (Drift.SURPLUS, surplus)):
        for cloud, server in servers:
            memory, new = _memory(known, server.id, kind, now)
            action = decide_stray(kind, _past(memory, now), settings)
            if action.step is RepairStep.REPORT:  # condemned under an earlier configuration
                memory = replace(memory, repairs=0)
            found.append(FoundDrift(server.id, action, memory, new, cloud=cloud, server=server))
    return found


def _memory(
    known: Mapping[str, DriftMemory], subject: str, drift: Drift, now: int
) -> tuple[DriftMemory, bool]:
    """What is remembered of a drift, and whether it is new.

    What lies in the future was noted before our clock was set back: it counts as now, or the drift
    would not be repaired before that time has come.
    """
    memory = known.get(subject)
    if memory is None or memory.drift is not drift:
        return DriftMemory(subject, drift, now), True
    since, repaired_at = min(memory.since, now), min(memory.repaired_at, now)
    return replace(memory, since=since, repaired_at=repaired_at), False


def _past(memory: DriftMemory, now: int) -> DriftPast:
    return DriftPast((now - memory.since) / _NS, memory.repairs, (now - memory.repaired_at) / _NS)


def needing_repair(found: Sequence[FoundDrift]) -> list[FoundDrift]:
    """The drifts whose repair is to be requested now."""
    return [one for one in found if one.action.step in _KINDS]


def strays_to_delete(found: Sequence[FoundDrift]) -> list[FoundDrift]:
    """The stray and surplus servers that are to be deleted."""
    return [one for one in found if one.action.step is RepairStep.DELETE]


def to_notify_once(found: Sequence[FoundDrift]) -> list[FoundDrift]:
    """The drifts that operators must end, of which they were not notified yet.

    The notice counts as the repair, so that it is sent once.
    """
    return [one for one in found if one.action in _ONCE and not one.memory.repairs]


def repair_requests(
    wanted: Iterable[FoundDrift], snapshot: Snapshot, slurm: SlurmSettings, origin: str, why: str
) -> list[PowerCommand]:
    """The requests that repair drifts, with the generation of the snapshot.

    `wanted` are those of `needing_repair`, found in `snapshot`. After the time that Slurm waits,
    which `slurm` has, a suspend needs a newer snapshot. `origin` is this host, `why` says who
    requests the repair.
    """
    timeouts = {Kind.RESUME: slurm.resume_timeout, Kind.SUSPEND: slurm.suspend_timeout}
    requests = []
    for found in wanted:
        kind = _KINDS[found.action.step]
        jobs = found.place.slurm.jobs if found.place and found.place.slurm else ()
        # a resume and a suspend for one snapshot are two requests
        call = hashlib.sha256(f"{snapshot.correlation_id}/{kind}".encode()).hexdigest()[:32]
        request = PowerCommand(
            kind=kind,
            cluster=snapshot.cluster,
            node=found.subject,
            generation=snapshot.generation,
            called=snapshot.time,
            correlation_id=call,
            expiry=snapshot.time + timeouts[kind] * _NS,
            jobs=tuple(WaitingJob(job) for job in jobs) if kind is Kind.RESUME else (),
            origin=origin,
            note=f"{why}: {found.action.drift}; {found.words}",
            repair=True,
        )
        requests.append(request)
    return requests


def next_memories(
    survey: Survey,
    known: Mapping[str, DriftMemory],
    found: Sequence[FoundDrift],
    repaired: Sequence[FoundDrift],
    now: int,
) -> list[DriftMemory]:
    """The drifts to remember; a node without a clear observation keeps its known drift.

    `repaired` are those found whose repair request, or only notice, the broker has accepted; `now` is
    in ns since the epoch.
    """
    subjects = {one.subject for one in repaired}
    memories = {
        place.node: known[place.node]
        for place in survey.nodes
        if place.node in known and _is_unclear(place)
    }
    if survey.unseen:
        memories |= {
            m.subject: m for m in known.values() if m.drift in {Drift.STRAY, Drift.SURPLUS}
        }
    for one in found:
        memory = one.memory
        if one.subject in subjects:
            memory = replace(memory, repairs=memory.repairs + 1, repaired_at=now)
        memories[one.subject] = memory
    return list(memories.values())


def _is_unclear(place: SurveyedNode) -> bool:
    return place.known.busy or place.known.newer or place.known.seen is ServerState.UNKNOWN
