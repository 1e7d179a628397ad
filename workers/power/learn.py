"""What the engine learns about a node from the answer to a call. Pure; times are monotonic seconds."""

from dataclasses import replace

from schemas.events import CloudAction, Transition
from workers.clouds.actions import FIND_IMAGE
from workers.clouds.errors import Then, Verdict
from workers.power.admit import FIRST_TIER
from workers.power.calls import NotWantedError, may_take_effect
from workers.power.node import (
    DONE,
    LOOKING,
    Calling,
    Decided,
    Judging,
    PendingNode,
    looks_later,
    recorded,
)
from workers.power.steps import Finish, ParkNode, Retry, Step

# So often in a row the cloud may say that the server is not as expected.
_CONFLICTS = 5


def learn_answer(  # noqa: PLR0913 - the answer, what it means, and when it came
    node: PendingNode,
    call: Calling,
    answer: str | BaseException,
    verdict: Verdict | None,
    *,
    now: float,
    time_ns: int,
    api_timeout: float,
) -> PendingNode:
    """The node after a call was answered.

    Args:
        node: as it is now; its row may have moved on since the call was made.
        call: the call.
        answer: the server's or image's id, or the error.
        verdict: what the error means; None without one.
        now: monotonic seconds.
        time_ns: ns since the epoch.
        api_timeout: seconds within which a call that was not answered takes effect, if ever.
    """
    node = replace(node, phase=LOOKING)
    if isinstance(answer, BaseException) and may_take_effect(answer):
        node = looks_later(node, now + api_timeout)
    if isinstance(answer, NotWantedError):
        node = looks_later(replace(node, called=True), now)
        if answer.waits is None or node.row.generation != call.row.generation:
            return node
        return replace(node, phase=Decided(ParkNode(answer.waits, FIRST_TIER)))
    node = recorded(node, call, action_of(call, answer, verdict, time_ns), now)
    if call.act.because is not None:
        node = replace(node, trouble=call.act.because)
    if verdict is None or verdict.then is not Then.SLOW_DOWN:
        node = looks_later(replace(node, called=True), now)
    still_wanted = node.row.generation == call.row.generation
    if verdict is None:
        if call.act.action == FIND_IMAGE and still_wanted:
            node = replace(node, image_id=str(answer))
        return replace(node, conflicts=0)
    return _after_error(node, verdict) if still_wanted else node


def action_of(
    call: Calling, answer: str | BaseException, verdict: Verdict | None, time_ns: int
) -> CloudAction:
    """The call as its round's record keeps it; `time_ns` in ns since the epoch."""
    server_id = answer if isinstance(answer, str) else call.act.server_id
    result = DONE if verdict is None else verdict.cause.error
    return CloudAction(call.act.action, server_id or "none", time_ns, result)


def _after_error(node: PendingNode, verdict: Verdict) -> PendingNode:
    if verdict.then is Then.PROBE:
        return replace(node, phase=Judging(verdict.cause))
    step: Step | None = None
    if verdict.then is Then.REJECT:
        step = Finish(Transition.FAILED, verdict.cause, None)
    elif verdict.then is Then.LOOK:
        node = replace(node, conflicts=node.conflicts + 1)
        if node.conflicts > _CONFLICTS:
            step = Retry(verdict.cause)
    return node if step is None else replace(node, phase=Decided(step))
