"""Decides what to report to Slurm after an event, from the event, Slurm's state and the store. Pure.

Slurm's behaviour, measured on 22.05.8 and 24.11.5: DOWN requeues the node's jobs at once; POWER_DOWN
after it calls SuspendProgram and keeps the reason until State=RESUME; POWER_DOWN_FORCE does both, but
leaves the node in service; a node without a report is abandoned at ResumeTimeout.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.addresses import node_addr
from schemas.commands import Desired, Kind
from schemas.events import Cause, RequestEvent, Transition
from schemas.snapshot import OWN_REASON, RESUME_TIMEOUT
from workers.slurm.causes import BUSY, CauseKind, kind_of, reason
from workers.slurm.nodes import NodeState
from workers.slurm.updates import SlurmUpdate, UpdateKind

_UNREGISTERED = Cause("resume_timeout", "slurmd did not register within ResumeTimeout")
# The reasons that Slurm itself sets. Any other reason without our prefix was set by an operator.
_SLURM_REASONS = ("", "Not responding", RESUME_TIMEOUT)
_NEWER_REQUEST = "the node has a newer request"


@dataclass(frozen=True, slots=True)
class RequestedState:
    """The last requested state of a node, as stored.

    Attributes:
        leased: whether a power worker works on the node now; False while its request is parked.
        held: whether the node is on hold.
    """

    desired: Desired
    generation: int
    leased: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a node when an event about it arrives.

    Attributes:
        slurm: the node's state in Slurm, or None if Slurm does not know it.
        requested: the node's last requested state, or None.
        failures: how often its boots failed in a row before.
        now: ns since the epoch.
    """

    slurm: NodeState | None
    requested: RequestedState | None
    failures: int
    now: int


def decide(
    event: RequestEvent, situation: Situation, hostnames: Mapping[str, str] | None
) -> SlurmUpdate:
    """The update for an event; only the ends of resumes and of resume-fails lead to one.

    `hostnames` has NodeHostName by node, if its group sets one; None if Slurm receives no
    addresses.
    """
    slurm, requested = situation.slurm, situation.requested
    if slurm is None:
        return _nothing(event, "unknown to Slurm")
    if requested is not None and requested.held:
        return _nothing(event, "it is on hold")
    if event.kind is Kind.RESUME_FAIL and event.transition is Transition.COMPLETED:
        return _on_resume_fail(event, slurm, requested)
    if event.kind is Kind.RESUME and event.transition is Transition.COMPLETED:
        return _on_completed(event, slurm, requested, hostnames)
    if event.kind is Kind.RESUME and event.transition is Transition.FAILED:
        kind, why = _on_failed(event, slurm, situation)
        if kind is UpdateKind.NOTHING:
            return _nothing(event, why)
        jobs = frozenset(job.job_id for job in event.jobs)
        return SlurmUpdate(kind, event.node, why, reason(event.cause), jobs=jobs, ran=slurm.lost)
    return _nothing(event, "not relevant to Slurm")


def waits_for_cloud(event: RequestEvent) -> bool:
    """Whether an event reports that a node waits for its cloud, so that it may be given back."""
    parked = event.kind is Kind.RESUME and event.transition is Transition.PARKED
    return parked and event.error not in BUSY


def _on_completed(
    event: RequestEvent,
    slurm: NodeState,
    requested: RequestedState | None,
    hostnames: Mapping[str, str] | None,
) -> SlurmUpdate:
    address = node_addr(event.address)
    if hostnames is None or address is None:
        return _nothing(event, "no address to report")
    if requested is None or requested.generation != event.generation:
        return _nothing(event, _NEWER_REQUEST)
    hostname = hostnames.get(event.node, slurm.hostname)
    if (address, hostname) == (slurm.address, slurm.hostname):
        return _nothing(event, "Slurm knows the address")
    changed = hostname if hostname != slurm.hostname else ""
    return SlurmUpdate(UpdateKind.ADDRESS, event.node, "booted", address=address, hostname=changed)


def _on_resume_fail(
    event: RequestEvent, slurm: NodeState, requested: RequestedState | None
) -> SlurmUpdate:
    """ResumeFailProgram was called, and the server has been stopped since."""
    if (
        requested is None
        or requested.generation != event.generation
        or not abandoned_by_slurm(slurm)
    ):
        return _nothing(event, f"{_NEWER_REQUEST}, or its reason is set")
    return SlurmUpdate(
        UpdateKind.EXPLAIN, event.node, "it did not register in time", reason(_UNREGISTERED)
    )


def _on_failed(
    event: RequestEvent, slurm: NodeState, situation: Situation
) -> tuple[UpdateKind, str]:
    requested = situation.requested
    ours = slurm.reason == reason(event.cause)
    if ours and slurm.down and (slurm.booting or slurm.lost):
        return UpdateKind.TAKE_OUT, "half done: a crash between DOWN and POWER_DOWN"
    if ours and not slurm.booting:
        return UpdateKind.DONE, "reported already"
    has_newer = requested is not None and requested.generation > event.generation
    if abandoned_by_slurm(slurm) and not (
        has_newer and requested and requested.desired is Desired.UP
    ):
        return UpdateKind.EXPLAIN, "Slurm itself has abandoned the boot"
    if has_newer:
        return UpdateKind.NOTHING, _NEWER_REQUEST
    if slurm.lost and requested is not None and requested.generation == event.generation:
        return _on_lost_node(event, slurm)
    if not slurm.booting:
        return UpdateKind.NOTHING, "Slurm does not wait for it"
    return _on_failed_boot(event, slurm, situation)


def _on_failed_boot(
    event: RequestEvent, slurm: NodeState, situation: Situation
) -> tuple[UpdateKind, str]:
    if event.expiry is not None and situation.now > event.expiry:
        return UpdateKind.NOTHING, "Slurm has abandoned that boot and waits for a newer one"
    if set_aside(slurm):
        return UpdateKind.NOTHING, "an operator has set it down, or drains it"
    weight = kind_of(event.error)
    if weight is CauseKind.FINAL or (weight is CauseKind.RETRYABLE and situation.failures > 0):
        return UpdateKind.TAKE_OUT, "the boot has failed"
    return UpdateKind.GIVE_BACK, "the boot has failed and may be tried again"


def _on_lost_node(event: RequestEvent, slurm: NodeState) -> tuple[UpdateKind, str]:
    """Slurm has requeued its jobs; with our reason the node powers down, and returns by itself."""
    if kind_of(event.error) is CauseKind.TRANSIENT:
        return UpdateKind.NOTHING, "its cloud may still bring it back"
    if set_aside(slurm):
        return UpdateKind.NOTHING, "an operator has set it down"
    return UpdateKind.TAKE_OUT, "it does not respond, and its cloud cannot bring it back"


def _may_overwrite(text: str) -> bool:
    return text.startswith(OWN_REASON) or text in _SLURM_REASONS


def set_aside(slurm: NodeState) -> bool:
    """Whether somebody else has taken the node out of service: its reason stays, and so does the node."""
    return (slurm.down or slurm.drained) and not _may_overwrite(slurm.reason)


def abandoned_by_slurm(slurm: NodeState) -> bool:
    """Whether Slurm's ResumeTimeout has taken the node out, and no other reason is set."""
    return (
        slurm.down
        and not slurm.booting
        and RESUME_TIMEOUT in slurm.reason
        and _may_overwrite(slurm.reason)
    )


def _nothing(event: RequestEvent, why: str) -> SlurmUpdate:
    return SlurmUpdate(UpdateKind.NOTHING, event.node, why)
