"""What an answer to a call changes, and the next step of a node: the policy around the table. Pure.

No round fails, no attempt fails, and no patience runs out, but on a listing of all servers that was
requested after the last call, and after it ran out: an older listing, or one of changes only, may not show
what has happened since. `_fail` alone makes such a step.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from schemas.events import Cause, CloudAction, Transition
from workers.clouds.actions import CREATE, FIND_IMAGE, NEEDS_ROOM
from workers.clouds.decide import SERVER_UNSEEN, Act, Decision, Fail, Settled, Wait, decide
from workers.clouds.errors import UNKNOWN, NotWantedError, Then, Verdict
from workers.clouds.health import Health
from workers.clouds.servers import ServerView
from workers.power.admit import FIRST_TIER
from workers.power.node import (
    DONE,
    LOOKING,
    OF_OPERATORS,
    Calling,
    Decided,
    Judging,
    PendingNode,
    Queued,
    answered,
    looks_later,
    recorded,
)
from workers.power.steps import Finish, MakeCall, ParkNode, Retry, Step, WaitFor
from workers.store.power_store import OtherBoot

# If this many other boots are stuck too, it is the cloud's fault, even if some are not.
_STUCK_TOO = 2
# How often in a row the cloud may say that the server is not as expected.
_CONFLICTS = 5
BOOTS_STUCK = "boots_stuck"
_NOBODY_WAITS = Cause("no_request", "its requests come again, to whoever goes on with it")


@dataclass(frozen=True, slots=True)
class CloudSituation:
    """What the engine knows of a node's cloud.

    Attributes:
        servers: as listed.
        health: of the cloud.
        tokens_away: whether the token service cannot be reached for it.
        oldest: a listing requested before this moment (monotonic seconds) starts nothing.
        peers: the pending nodes on it; called only where they matter.
        elsewhere: the other boots on it, of all workers; called only where they matter.
    """

    servers: ServerView
    health: Health
    tokens_away: bool
    oldest: float
    peers: Callable[[], Collection[PendingNode]]
    elsewhere: Callable[[], Collection[OtherBoot]] = tuple


_FOR_ANYTHING = WaitFor()
_FOR_A_LISTING = WaitFor(listing=True)
_FOR_A_WHOLE_LISTING = WaitFor(listing=True, whole=True)


def next_step(
    node: PendingNode, cloud: CloudSituation, refusal: Cause | None, *, registered: bool, now: float
) -> Step:
    """What to do about a node now (monotonic seconds).

    `refusal` is why its group may ask for no room now, and `registered` whether Slurm, asked after the
    node's row was raised, counts it as running.
    """
    if (settled := _without_deciding(node, cloud, now)) is not None:
        return settled
    decision = _decide(node, cloud, registered=registered)
    if isinstance(decision, Settled):
        return Finish(Transition.COMPLETED, None, decision.server)
    if isinstance(node.phase, Judging) and cloud.servers.as_of <= node.fresh_after:
        return _FOR_A_LISTING
    cause = _failure(node, decision, refusal)
    if cause is not None:
        whole = _decide_as_of(node, cloud, cloud.servers.whole_as_of, registered=registered)
        still = _failure(node, whole, refusal) is not None
        return _fail(node, cause, cloud, on_whole=still, now=now)
    if not isinstance(decision, Act):
        return _wait(node, decision, now)
    if decision.action == CREATE and any(made.action == CREATE for made in node.made):
        # a listing of changes may have missed the first server: a job could be on either of two
        whole = _decide_as_of(node, cloud, cloud.servers.whole_as_of, registered=registered)
        if whole != decision:
            return _FOR_A_WHOLE_LISTING
    return _FOR_ANYTHING if isinstance(node.phase, Queued) else MakeCall(decision)


def _without_deciding(node: PendingNode, cloud: CloudSituation, now: float) -> Step | None:
    """The step where the table has no say."""
    if isinstance(node.phase, Calling) or (node.requests and cloud.tokens_away):
        return _FOR_ANYTHING
    if not node.requests:
        return ParkNode(_NOBODY_WAITS, FIRST_TIER)
    if cloud.health.away is not None:
        return ParkNode(cloud.health.away, cloud.health.rest(now))
    if isinstance(node.phase, Decided):
        return node.phase.step
    # the property asks this too, but is not called for each step of each node
    if node.row.desired in OF_OPERATORS and node.is_overtaken:
        return Finish(Transition.COMPLETED, None, None)
    return None


def _decide(node: PendingNode, cloud: CloudSituation, *, registered: bool) -> Decision:
    seen = cloud.servers.as_of
    if seen <= node.fresh_after and (node.called or seen < cloud.oldest):
        return Wait()
    return _decide_as_of(node, cloud, seen, registered=registered)


def _decide_as_of(
    node: PendingNode, cloud: CloudSituation, seen: float, *, registered: bool
) -> Decision:
    """What the table says, if the listing that was requested at `seen` shows all that there is."""
    due = node.row.boot_due and not registered
    return decide(node.row.desired, node.view(cloud.servers, seen, boot_due=due), node.group)


def _wait(node: PendingNode, wait: Wait | Fail, now: float) -> Step:
    if isinstance(wait, Fail) or wait.patience is None:
        return _FOR_A_LISTING
    until = node.patient_since + wait.patience
    # patience has run out, but the listing is older than that
    return _FOR_A_LISTING if until <= now else WaitFor(until)


def _failure(node: PendingNode, decision: Decision, refusal: Cause | None) -> Cause | None:
    """Why the round cannot go on as decided; None if it can."""
    failed = node.phase
    if isinstance(failed, Judging):
        # what the cloud has refused is over where something else is to be done by now
        again = isinstance(decision, Act) and replace(decision, because=None) == failed.act
        if failed.then is not Then.REJECT or again:
            return failed.fault
    if isinstance(decision, Fail):
        return decision.cause
    is_refused = isinstance(decision, Act) and decision.action in NEEDS_ROOM
    return refusal if is_refused else None


def _fail(
    node: PendingNode, cause: Cause, cloud: CloudSituation, *, on_whole: bool, now: float
) -> Step:
    """The end of a round, or of an attempt; `on_whole` is whether the last whole listing shows it too."""
    failed = node.phase
    if isinstance(failed, Judging) and not _is_own_fault(node, failed, cloud):
        return ParkNode(cause, cloud.health.rest(now))
    if not on_whole or cloud.servers.whole_as_of <= node.fresh_after:
        return _FOR_A_WHOLE_LISTING
    if cause.error == SERVER_UNSEEN:
        return ParkNode(cause, cloud.health.rest(now))
    if isinstance(failed, Judging) and failed.then is not Then.REJECT:
        return Retry(cause)
    is_slurms = cause.error == "boot_timeout" and node.row.desired not in OF_OPERATORS
    if is_slurms and _boots_are_stuck(node, cloud, now):
        stuck = Cause(BOOTS_STUCK, f"{cause.message}, and other boots are stuck too")
        return ParkNode(stuck, cloud.health.rest(now), afresh=True)
    return Finish(Transition.FAILED, cause, None)


def _boots_are_stuck(node: PendingNode, cloud: CloudSituation, now: float) -> bool:
    """Whether the cloud starts no server at all: a dead compute service behind a live API."""
    health = cloud.health
    if health.booted_at > node.patient_since:
        return False
    if health.booted_at < health.stuck_at and now - health.stuck_at < node.group.boot_timeout:
        return True
    others = {p.name: p for p in cloud.peers() if p.name != node.name and p.is_booting}
    half = {name: now - p.patient_since > p.group.boot_timeout / 2 for name, p in others.items()}
    for boot in cloud.elsewhere():
        if boot.is_over and 0 <= boot.age < now - node.patient_since:
            return False  # it began later, and has completed; below 0, nobody knows when
        if not boot.is_over and boot.node != node.name:
            half.setdefault(boot.node, boot.age > node.group.boot_timeout / 2)
    stuck = sum(half.values())
    return stuck >= _STUCK_TOO or 0 < stuck == len(half)


def _is_own_fault(node: PendingNode, failed: Judging, cloud: CloudSituation) -> bool:
    """Whether a call failed by the node's fault and not by its cloud's."""
    if failed.then is not Then.PROBE:
        return failed.then is not Then.PARK
    # an error that no table knows is a defect of ours, not an outage
    return cloud.health.is_own_fault(node.name) or failed.fault.error == UNKNOWN


def learn_answer(  # noqa: PLR0913 - the answer, what it means, and when it came
    node: PendingNode,
    call: Calling,
    answer: str | BaseException,
    verdict: Verdict | None,
    *,
    now: float,
    time_ns: int,
    settles: float = 0.0,
) -> PendingNode:
    """The node, whose row may have moved on since the call was made, after the call was answered.

    The `answer` is the server's or image's id, or the error of the `verdict`; it came at `now`
    (monotonic) and `time_ns`. A try that was not answered takes effect within `settles` seconds, if
    ever; 0 without one.
    """
    node = replace(node, phase=LOOKING)
    if settles:
        node = looks_later(node, now + settles)
    if isinstance(answer, NotWantedError):
        node = answered(node, now)
        if answer.waits is None or node.row.generation != call.row.generation:
            return node
        if answer.ends:
            return replace(node, phase=Decided(Finish(Transition.SUPERSEDED, answer.waits, None)))
        return replace(node, phase=Decided(ParkNode(answer.waits, FIRST_TIER)))
    node = recorded(node, call, action_of(call, answer, verdict, time_ns), now)
    if call.act.because is not None:
        node = replace(node, trouble=call.act.because)
    if verdict is None or verdict.then is not Then.SLOW_DOWN:
        node = answered(node, now)
    still_wanted = node.row.generation == call.row.generation
    if verdict is None:
        if call.act.action == FIND_IMAGE and still_wanted:
            node = replace(node, image_id=str(answer))
        return replace(node, conflicts=0) if node.conflicts else node
    return _after_error(node, call.act, verdict) if still_wanted else node


def action_of(
    call: Calling, answer: str | BaseException, verdict: Verdict | None, time_ns: int
) -> CloudAction:
    """The call as its round's record keeps it; `time_ns` in ns since the epoch."""
    server_id = answer if isinstance(answer, str) else call.act.server_id
    result = DONE if verdict is None else verdict.cause.error
    return CloudAction(call.act.action, server_id or "none", time_ns, result)


def _after_error(node: PendingNode, act: Act, verdict: Verdict) -> PendingNode:
    conflicts = node.conflicts + (verdict.then is Then.LOOK)
    judges = verdict.then in {Then.PROBE, Then.PARK, Then.REJECT} or conflicts > _CONFLICTS
    judging = Judging(verdict.cause, replace(act, because=None), verdict.then)
    phase = judging if judges else node.phase
    return replace(node, conflicts=conflicts, phase=phase)
