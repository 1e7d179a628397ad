"""From all that is known to what is asked for and what is remembered. Pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from schemas.commands import Kind, PowerCommand, WaitingJob
from schemas.server import Server
from schemas.snapshot import Snapshot
from workers.config.tables import ResyncSettings, SlurmSettings
from workers.resync.drift import (
    Drift,
    DriftAction,
    DriftPast,
    Patience,
    RepairStep,
    ServerState,
    decide_drift,
    decide_stray,
    find_drift,
)
from workers.resync.drift_memory import DriftMemory
from workers.resync.survey import Survey, SurveyedNode

_NS = 1_000_000_000
_KINDS = {RepairStep.RESUME: Kind.RESUME, RepairStep.SUSPEND: Kind.SUSPEND}
# What stands in the note of a request that puts out an orphan, whoever has asked.
ORPHAN_NOTE = f": {Drift.ORPHAN}; Slurm: "
# Sooner than any cloud notices: an operator who says so has looked.
AT_ONCE = Patience(grace=0.0, repeat_after=0.0)


@dataclass(frozen=True, slots=True)
class Found:
    """Something that differs.

    Attributes:
        subject: the node; of a stray, the server's id.
        place: the node; None for a stray.
        cloud, server: of a stray.
        memory: since when it is known, this time included.
        new: whether this is the first time.
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
        """What differs, in words; a server's name is hostile."""
        if self.place is None:
            server = self.server
            return f"server {self.subject} on {self.cloud} has our tags, and is no node's" + (
                f": {server.name}, {server.status}" if server else ""
            )
        known, slurm = self.place.known, self.place.slurm
        return (
            f"Slurm: {slurm.state if slurm else 'unknown'}; wanted: {known.desired or 'nothing'}; "
            f"cloud: {self.place.server.status if self.place.server else known.seen}"
        )


def plan(
    survey: Survey, known: Mapping[str, DriftMemory], patience: Patience, now: int
) -> Sequence[Found]:
    """What differs, and what is to be done; `now` in ns since the epoch."""
    found = []
    for place in survey.places:
        memory = known.get(place.node)
        action = find_drift(place.known)
        if action.drift in {Drift.NONE, Drift.UNSEEN}:
            continue
        new = memory is None or memory.drift is not action.drift
        if memory is None or new:
            memory = DriftMemory(place.node, action.drift, now)
        action = decide_drift(place.known, _past(memory, now), patience)
        found.append(Found(place.node, action, memory, new, place))
    for cloud, server in survey.strays:
        memory, new = known.get(server.id), server.id not in known
        memory = memory or DriftMemory(server.id, Drift.STRAY, now)
        action = decide_stray(_past(memory, now), patience)
        found.append(Found(server.id, action, memory, new, cloud=cloud, server=server))
    return found


def _past(memory: DriftMemory, now: int) -> DriftPast:
    return DriftPast((now - memory.since) / _NS, memory.repairs, (now - memory.repaired_at) / _NS)


def asked_for(found: Sequence[Found]) -> list[Found]:
    """Those whose repair is asked for by a request now."""
    return [one for one in found if one.action.step in _KINDS]


def condemned(found: Sequence[Found]) -> list[Found]:
    """The strays that are to be deleted."""
    return [one for one in found if one.action.step is RepairStep.DELETE]


def patience_of(settings: ResyncSettings) -> Patience:
    """What a site has chosen."""
    return Patience(settings.grace, settings.repeat_after, settings.delete_strays)


def requests(
    wanted: Iterable[Found], snapshot: Snapshot, slurm: SlurmSettings, origin: str, why: str
) -> list[PowerCommand]:
    """The requests that repair what was found, as old as the snapshot.

    Args:
        wanted: of `asked_for`.
        snapshot: what it was found in.
        slurm: says how long Slurm waits: then a suspend needs a newer snapshot.
        origin: this host.
        why: who asks.
    """
    timeouts = {Kind.RESUME: slurm.resume_timeout, Kind.SUSPEND: slurm.suspend_timeout}
    return [command_for(one, snapshot, timeouts, origin, why) for one in wanted]


def command_for(
    found: Found, snapshot: Snapshot, timeouts: Mapping[Kind, int], origin: str, why: str
) -> PowerCommand:
    """The request that repairs one; as `requests`, with seconds that Slurm waits, by kind."""
    kind = _KINDS[found.action.step]
    jobs = found.place.slurm.jobs if found.place and found.place.slurm else ()
    return PowerCommand(
        kind=kind,
        cluster=snapshot.cluster,
        node=found.subject,
        generation=snapshot.generation,
        # a resume and a suspend of one snapshot are two requests
        correlation_id=hashlib.sha256(f"{snapshot.correlation_id}/{kind}".encode()).hexdigest()[
            :32
        ],
        expiry=snapshot.generation + timeouts[kind] * _NS,
        jobs=tuple(WaitingJob(job) for job in jobs) if kind is Kind.RESUME else (),
        origin=origin,
        note=f"{why}: {found.action.drift}; {found.words}",
    )


def remembered(
    survey: Survey,
    known: Mapping[str, DriftMemory],
    found: Sequence[Found],
    asked: Sequence[Found],
    now: int,
) -> list[DriftMemory]:
    """What is remembered then.

    Args:
        survey: what was seen; of nodes about which it says nothing, what was known stays.
        known: what was remembered before.
        found: what differs.
        asked: those whose repair the broker has taken.
        now: ns since the epoch.
    """
    subjects = {one.subject for one in asked}
    memories = {
        place.node: known[place.node]
        for place in survey.places
        if place.node in known and _says_nothing(place)
    }
    if survey.unseen:
        memories |= {m.subject: m for m in known.values() if m.drift is Drift.STRAY}
    for one in found:
        memory = one.memory
        if one.subject in subjects:
            memory = replace(memory, repairs=memory.repairs + 1, repaired_at=now)
        memories[one.subject] = memory
    return list(memories.values())


def _says_nothing(place: SurveyedNode) -> bool:
    return place.known.busy or place.known.newer or place.known.seen is ServerState.UNKNOWN
