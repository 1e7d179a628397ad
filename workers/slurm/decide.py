"""The decision: what Slurm is to be told of a node, given an event, Slurm's view and the stores'. Pure.

Slurm's behaviour behind it, measured on 22.05.8 and 24.11.5: DOWN requeues the node's jobs at once;
POWER_DOWN behind it calls SuspendProgram and keeps the reason until State=RESUME; POWER_DOWN_FORCE does
both, but leaves the node in service; a node that is neither told is given up at ResumeTimeout.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.commands import Desired, Kind
from schemas.events import Cause, RequestEvent, Transition
from workers.slurm.causes import BUSY, OURS, Weight, reason, weigh
from workers.slurm.nodes import RESUME_TIMEOUT, NodeState

_NS = 1_000_000_000
_UNREGISTERED = Cause("resume_timeout", "its slurmd did not register within ResumeTimeout")
# What Slurm itself writes; any other reason that is not ours is a person's.
_SLURMS = ("", "Not responding", RESUME_TIMEOUT)


class UpdateKind(enum.StrEnum):
    """What Slurm is told of a node.

    TAKE_OUT: DOWN with a reason, then POWER_DOWN: out of service until it is returned.
    GIVE_BACK: POWER_DOWN_FORCE with a reason: this boot is given up, the next may come.
    EXPLAIN: only the reason: Slurm has given up by itself.
    STANDS: nothing: it was told already; who died between telling and noting tells twice.
    ADDRESS: its NodeAddr, and NodeHostName where the group asks for it.
    RETURN: RESUME: back in service.
    WAIT: nothing yet: look again soon.
    DRY: nothing, for its group is in a dry run; `why` is the step that it would have been.
    NOTHING: nothing at all.
    """

    TAKE_OUT = "take_out"
    GIVE_BACK = "give_back"
    EXPLAIN = "explain"
    STANDS = "stands"
    ADDRESS = "address"
    RETURN = "return"
    WAIT = "wait"
    DRY = "dry"
    NOTHING = "nothing"

    @property
    def fails(self) -> bool:
        """Whether the boot has failed, as Slurm is told: jobs that waited for it may go on."""
        return self in _FAILING


_FAILING = frozenset(
    {UpdateKind.TAKE_OUT, UpdateKind.GIVE_BACK, UpdateKind.EXPLAIN, UpdateKind.STANDS}
)


@dataclass(frozen=True, slots=True)
class Newest:
    """A node's row in the store of desired states.

    Attributes:
        leased: whether a power worker is at work on the node now; not so while it is parked.
        held: whether an operator keeps everybody off the node.
    """

    desired: Desired
    generation: int
    leased: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a site has chosen; seconds.

    Attributes:
        return_after: from a failure to the node's return; twice that after a second one in a row,
            and so on.
        return_at_most: its limit.
        give_back_after: how long a node may wait for a cloud that is away.
        resume_timeout: as in slurm.conf.
        set_addresses: whether Slurm is told where a node runs.
        hostnames: by node, what NodeHostName is to be, where a group asks for it.
    """

    return_after: float = 300.0
    return_at_most: float = 7200.0
    give_back_after: float = 300.0
    resume_timeout: float = 600.0
    set_addresses: bool = False
    hostnames: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class SlurmUpdate:
    """What Slurm is told of one node, and why."""

    step: UpdateKind
    node: str
    why: str
    reason: str = ""
    address: str = ""
    hostname: str = ""
    jobs: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a node when an event about it comes.

    Attributes:
        slurm: the node as Slurm sees it, or None where it knows none of that name.
        newest: the store's row, or None.
        failures: how often its boots have failed in a row before.
        now: ns since the epoch.
    """

    slurm: NodeState | None
    newest: Newest | None
    failures: int
    now: int


def decide(told: RequestEvent, seen: Situation, policy: Policy) -> SlurmUpdate:
    """What an event asks for; others than ends of resumes and of resume-fails ask for nothing."""
    if seen.slurm is None:
        return _nothing(told, "unknown to Slurm")
    if seen.newest is not None and seen.newest.held:
        return _nothing(told, "it is on hold")
    if told.kind is Kind.RESUME_FAIL and told.transition is Transition.COMPLETED:
        return _given_up_by_slurm(told, seen.slurm, seen.newest)
    if told.kind is Kind.RESUME and told.transition is Transition.COMPLETED:
        return _completed(told, seen.slurm, seen.newest, policy)
    if told.kind is Kind.RESUME and told.transition is Transition.FAILED:
        return _failed(told, seen.slurm, seen)
    return _nothing(told, "says nothing to Slurm")


def _completed(
    told: RequestEvent, slurm: NodeState, newest: Newest | None, policy: Policy
) -> SlurmUpdate:
    if not policy.set_addresses or not told.address:
        return _nothing(told, "no address to tell")
    if newest is None or newest.generation != told.generation:
        return _nothing(told, "the node has been asked for anew")
    hostname = (policy.hostnames or {}).get(told.node, slurm.hostname)
    if (told.address, hostname) == (slurm.address, slurm.hostname):
        return _nothing(told, "Slurm knows the address")
    changed = hostname if hostname != slurm.hostname else ""
    return SlurmUpdate(
        UpdateKind.ADDRESS, told.node, "booted", address=told.address, hostname=changed
    )


def _failed(told: RequestEvent, slurm: NodeState, seen: Situation) -> SlurmUpdate:
    step, why = _on_failure(told, slurm, seen)
    if step is UpdateKind.NOTHING:
        return _nothing(told, why)
    jobs = frozenset(job.job_id for job in told.jobs)
    return SlurmUpdate(step, told.node, why, reason(told.cause), jobs=jobs)


def _on_failure(told: RequestEvent, slurm: NodeState, seen: Situation) -> tuple[UpdateKind, str]:
    ours = slurm.reason == reason(told.cause)
    if ours and slurm.down and (slurm.booting or slurm.lost):
        return UpdateKind.TAKE_OUT, "half told: who said DOWN died before it said POWER_DOWN"
    if ours and not slurm.booting:
        return UpdateKind.STANDS, "told already"
    newest = seen.newest
    anew = newest is not None and newest.generation > told.generation
    if _given_up(slurm) and not (anew and newest and newest.desired is Desired.UP):
        return UpdateKind.EXPLAIN, "Slurm has given up by itself"
    if anew:
        return UpdateKind.NOTHING, "the node has been asked for anew"
    if slurm.lost and newest is not None and newest.generation == told.generation:
        return _on_lost(told, slurm)
    if not slurm.booting:
        return UpdateKind.NOTHING, "Slurm does not wait for it"
    return _on_failed_boot(told, slurm, seen)


def _on_failed_boot(
    told: RequestEvent, slurm: NodeState, seen: Situation
) -> tuple[UpdateKind, str]:
    if told.expiry is not None and seen.now > told.expiry:
        return UpdateKind.NOTHING, "Slurm has given up that boot: it waits for a newer one"
    if slurm.down and not _may_overwrite(slurm.reason):
        return UpdateKind.NOTHING, "somebody else has set it down"
    weight = weigh(told.cause.error if told.cause else "")
    if weight is Weight.FINAL or (weight is Weight.RETRYABLE and seen.failures > 0):
        return UpdateKind.TAKE_OUT, "the boot has failed"
    return UpdateKind.GIVE_BACK, "the boot has failed and may be tried again"


def _on_lost(told: RequestEvent, slurm: NodeState) -> tuple[UpdateKind, str]:
    """Slurm has requeued its jobs; with our reason it is powered down, and returns by itself."""
    if weigh(told.cause.error if told.cause else "") is Weight.TRANSIENT:
        return UpdateKind.NOTHING, "its cloud may yet bring it back"
    if not _may_overwrite(slurm.reason):
        return UpdateKind.NOTHING, "somebody else has set it down"
    return UpdateKind.TAKE_OUT, "it does not answer, and its cloud does not bring it back"


def _given_up_by_slurm(told: RequestEvent, slurm: NodeState, newest: Newest | None) -> SlurmUpdate:
    """ResumeFailProgram was called, and the server has been put out since."""
    if newest is None or newest.generation != told.generation or not _given_up(slurm):
        return _nothing(told, "the node has been asked for anew, or explained")
    return SlurmUpdate(
        UpdateKind.EXPLAIN, told.node, "it did not register in time", reason(_UNREGISTERED)
    )


def give_back(
    node: str, generation: int, words: str, slurm: NodeState | None, newest: Newest | None
) -> SlurmUpdate:
    """What becomes of a node that has waited long enough for a cloud that is away."""
    if slurm is None or newest is None or newest.generation != generation:
        return SlurmUpdate(UpdateKind.NOTHING, node, "the node has been asked for anew")
    if newest.leased or newest.held:
        return SlurmUpdate(UpdateKind.WAIT, node, "a power worker is at it, or an operator")
    if not slurm.booting or slurm.down:
        return SlurmUpdate(UpdateKind.NOTHING, node, "Slurm does not wait for it")
    return SlurmUpdate(UpdateKind.GIVE_BACK, node, "its cloud has been away for long", words)


def bring_back(
    node: str, words: str, slurm: NodeState | None, newest: Newest | None = None
) -> SlurmUpdate:
    """What becomes of a node whose cool-down has ended."""
    if newest is not None and newest.held:
        return SlurmUpdate(UpdateKind.WAIT, node, "it is on hold")
    if slurm is None or not slurm.down or slurm.reason != words:
        return SlurmUpdate(UpdateKind.NOTHING, node, "somebody else has seen to it")
    if not slurm.out:
        return SlurmUpdate(UpdateKind.WAIT, node, "it still powers down")
    return SlurmUpdate(UpdateKind.RETURN, node, "its cool-down has ended")


def waits_for_cloud(told: RequestEvent) -> bool:
    """Whether an event says that a node waits for its cloud, and may be given back for it."""
    cause = told.cause.error if told.cause else ""
    return told.kind is Kind.RESUME and told.transition is Transition.PARKED and cause not in BUSY


def returns_at(failed_at: int, failures: int, policy: Policy) -> int:
    """When a node returns to service, in ns; `failures` in a row, this one included."""
    growth = 2.0 ** min(max(failures - 1, 0), 20)
    return failed_at + int(min(policy.return_after * growth, policy.return_at_most) * _NS)


def _may_overwrite(words: str) -> bool:
    return words.startswith(OURS) or words in _SLURMS


def _given_up(slurm: NodeState) -> bool:
    """Whether Slurm's own ResumeTimeout has taken the node out, and nobody has said more."""
    return (
        slurm.down
        and not slurm.booting
        and RESUME_TIMEOUT in slurm.reason
        and _may_overwrite(slurm.reason)
    )


def rehearsed(action: SlurmUpdate) -> SlurmUpdate:
    """What becomes of an action in a dry run."""
    if action.step in {UpdateKind.NOTHING, UpdateKind.WAIT}:
        return action
    return SlurmUpdate(UpdateKind.DRY, action.node, str(action.step), action.reason)


def _nothing(told: RequestEvent, why: str) -> SlurmUpdate:
    return SlurmUpdate(UpdateKind.NOTHING, told.node, why)
