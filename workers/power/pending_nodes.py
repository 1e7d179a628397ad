"""The nodes under reconciliation, and the ways by which their requests leave."""

import time
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry

from schemas.events import Cause, CloudAction, Transition
from schemas.server import Server
from workers.broker import outgoing
from workers.clouds.actions import NEEDS_ROOM
from workers.power import messages
from workers.power.decide import Act
from workers.power.desired_state import DesiredRow
from workers.power.group_rest import GroupRest
from workers.power.intake import Pending
from workers.power.metrics import PowerMetrics
from workers.power.node_work import DRY_RUN, RoundKey, Work
from workers.power.outbox import Outbox

HELD = Cause("lease_held", "another worker acts on this node")


def on_hold(reason: str) -> Cause:
    """Why nothing is done about a node that somebody is at."""
    return Cause("on_hold", f"the node is on hold: {reason}")


@dataclass(frozen=True, slots=True)
class NodeEnding:
    """A node has got as far as it will; the store has the last word."""

    transition: Transition
    cause: Cause | None
    server: Server | None


@dataclass(slots=True)
class PendingNodes:
    """What the engine's turns work on.

    Attributes:
        outbox: publishes and acknowledges.
        attempts: how many may fail before a request is dead.
        works: the nodes under reconciliation.
        dirty: those that something has happened to since the last turn.
        ending: those to be settled this turn.
        acted: the actions of requests' rounds that the store does not have yet.
        unsure: those where a call without an answer may still take effect; the store must know.
        reread: those whose row in the store is to be read again.
        cooling: the groups whose cloud had no room.
        figures: are told what happens.
        given_up: those whose lease is to be released this turn.
    """

    outbox: Outbox
    attempts: int
    works: dict[str, Work] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    ending: dict[str, NodeEnding] = field(default_factory=dict)
    acted: dict[RoundKey, list[CloudAction]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    reread: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    cooling: GroupRest = field(default_factory=GroupRest)
    figures: PowerMetrics = field(default_factory=lambda: PowerMetrics(CollectorRegistry()))

    def of_cloud(self, cloud: str) -> list[Work]:
        """The nodes on that cloud."""
        return [work for work in self.works.values() if work.group.cloud == cloud]

    def end(
        self, work: Work, transition: Transition, cause: Cause | None, server: Server | None
    ) -> None:
        """Settle the node at the end of this turn."""
        if cause is not None:
            cause = self.cooling.note(
                work.group_name, cause, work.group.cool_down, time.monotonic()
            )
        self.ending[work.node] = NodeEnding(transition, cause, server)

    def rehearse(self, work: Work, act: Act, server: Server | None) -> None:
        """A dry run ends here: note what would have been called first, and call nothing."""
        now = time.time_ns()
        work.record(work.key, CloudAction(act.action, act.server_id or "none", now, DRY_RUN))
        self.end(work, Transition.COMPLETED, None, server)

    def follow(self, work: Work, row: DesiredRow) -> None:
        """The node's row is this now; what was found out for another generation is void."""
        if row.generation != work.row.generation:
            work.fault, work.looks, work.image_id = None, 0, None
            self.ending.pop(work.node, None)
        work.row = row
        if row.wary_left:
            work.look_later(time.monotonic() + row.wary_left)
        self.dirty.add(work.node)

    def may_call(self, work: Work, action: str) -> bool:
        """Whether a call makes sense: the node is not at its end, and there may be room for it."""
        now = time.monotonic()
        resting = action in NEEDS_ROOM and self.cooling.refusal(work.group_name, now) is not None
        return work.node not in self.ending and not resting

    def retry(self, work: Work, cause: Cause) -> None:
        """One more attempt has failed: to the next tier, or the end.

        The end comes when all that ask for what was tried have had their attempts: an old request
        must not take a fresh one with it.
        """
        tried = [r for r in work.pending if r.command.desired is work.row.desired] or work.pending
        if tried and all(r.past.attempt + 1 >= self.attempts for r in tried):
            self.end(work, Transition.FAILED, cause, None)
            return
        now = time.time_ns()
        for request in work.pending:
            _log(request).warning("request_retried", cause=cause.error)
            self.figures.retried(cause)
            self.outbox.finish(request.delivery, messages.retried(request, cause, now))
        self.give_up(work)

    def park(self, work: Work, cause: Cause, tier: str) -> None:
        """Nothing is wrong with these requests: they rest, their attempts unchanged."""
        if work.calling:
            return  # the call's answer comes first, and leads here again
        for request in work.pending:
            self.park_request(request, cause, tier)
        self.give_up(work)

    def park_request(self, request: Pending, cause: Cause, tier: str) -> None:
        """Let one request rest."""
        _log(request).info("request_parked", cause=cause.error, tier=tier)
        self.figures.parked(cause)
        self.outbox.finish(request.delivery, messages.parked(request, cause, tier, time.time_ns()))

    def publish_ending(self, request: Pending, body: bytes) -> None:
        """Publish the outcome that stands in the store, and the letter where it is dead."""
        told, message = outgoing.stored(body)
        outcome = [message]
        if told.transition is Transition.FAILED and told.cause is not None:
            past = request.past.failed(told.cause, told.time)
            letter = messages.dead_letter(request.delivery, past, told.cause, told.time)
            outcome.insert(0, letter)
        log = _log(request)
        tell = log.error if told.transition is Transition.FAILED else log.info
        self.figures.ended(told)
        tell("request_ended", outcome=str(told.transition), cause=told.cause and told.cause.error)
        self.outbox.finish(request.delivery, outcome)

    def give_up(self, work: Work) -> None:
        """Nobody waits for this node any more."""
        work.pending.clear()
        self.works.pop(work.node, None)
        self.ending.pop(work.node, None)
        self.given_up.add(work.node)

    def clear(self) -> None:
        """Forget the nodes: their requests are taken up anew.

        What was done stays known; and a call under way is waited for, or what is seen before its
        answer would count, though it may still change the node.
        """
        for nodes in (self.dirty, self.ending, self.reread, self.given_up):
            nodes.clear()
        self.works = {node: work for node, work in self.works.items() if work.calling}
        for work in self.works.values():
            work.pending.clear()


def _log(request: Pending) -> structlog.typing.FilteringBoundLogger:
    command = request.command
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log.bind(
        node=command.node,
        kind=str(command.kind),
        generation=command.generation,
        correlation_id=command.correlation_id,
        request_id=command.id,
        round=request.past.round,
        attempt=request.past.attempt,
    )


def log_accepted(request: Pending) -> None:
    """The first line of a request in this worker's log."""
    _log(request).info("request_accepted")
