"""Reception: from deliveries to pending nodes, or to an answer at once."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from operator import attrgetter

from schemas.errors import MalformedMessageError
from schemas.events import Cause, Transition
from workers.broker import topology
from workers.broker.delivery import Delivery
from workers.config.settings import Settings
from workers.power import intake, messages
from workers.power.admit import (
    FIRST_TIER,
    IMPLAUSIBLE,
    LATER_TIER,
    TAKE,
    Admission,
    End,
    admit,
    ahead_of_time,
    tier_of,
)
from workers.power.intake import Pending
from workers.power.node import MOST_REQUESTS, PendingNode, joined, surplus
from workers.power.publisher import Publisher
from workers.power.state import EngineState
from workers.power.steps import Finish
from workers.store.generations import CLOCKS_DIFFER, ClockLimit
from workers.store.nodes import DesiredRow
from workers.store.power_store import Accepted, PowerStore, StoredEvent
from workers.store.slurm_view import SnapshotReader

# Requests of one turn, and suspends among them: it then takes about a second.
_MOST, _SUSPENDS = 1000, 200
_OVERTAKEN = Finish(Transition.SUPERSEDED, None, None)
HELD_ELSEWHERE = Cause("lease_held", "another worker acts on this node")


def _is_unused_off(request: Pending, how: Admission) -> bool:
    """Whether Slurm asks to power a node off, and that waits, or ends because Slurm wants it up.

    What waits because its generation is implausible would shut out whatever boots the node.
    """
    unused = how.transition is Transition.SUPERSEDED if isinstance(how, End) else how != TAKE
    implausible = isinstance(how, Cause) and how.error == IMPLAUSIBLE
    return request.command.is_slurms_power_off and unused and not implausible


def on_hold(reason: str) -> Cause:
    """Why nothing is done about a node that is on hold."""
    return Cause("on_hold", f"the node is on hold: {reason}")


@dataclass(slots=True)
class Reception:
    """Takes requests in: one transaction, then the answers, so that each is given once.

    A job waits for a resume, and nobody for a suspend: suspends come in a few a turn.

    Attributes:
        arrived: the requests for the next `turn`.
        suspends: deliveries that come after them, in their order; when they came, by both clocks.
        ahead_at: monotonic seconds when a request last came whose generation lies far ahead.
    """

    settings: Settings
    state: EngineState
    store: PowerStore
    snapshots: SnapshotReader
    publisher: Publisher
    arrived: list[Pending] = field(default_factory=list)
    suspends: deque[tuple[Delivery, int, float]] = field(default_factory=deque)
    ahead_at: float = -inf
    _is_dry: intake.IsDry = field(init=False)
    # nodes with more requests than they need
    _crowded: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._is_dry = self.settings.is_dry if self.settings.dry_groups else None

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery in, for the next `turn` or a later one."""
        come = delivery, time.time_ns(), time.monotonic()
        if delivery.queue == topology.SUSPEND_QUEUE:
            self.suspends.append(come)
        else:
            self._read(*come)

    def _read(self, delivery: Delivery, at: int, since: float) -> None:
        try:
            request = intake.read(delivery, self.publisher.cluster, at, since, self._is_dry)
        except MalformedMessageError as error:
            self.publisher.rejected(delivery, error)
        else:
            self.arrived.append(request)

    def forget_before(self, connection: int) -> None:
        """Drop what came over earlier connections: it comes again."""
        self.arrived = [r for r in self.arrived if r.delivery.connection >= connection]
        self.suspends = deque(s for s in self.suspends if s[0].connection >= connection)

    def take_back(self, requests: Sequence[Pending]) -> None:
        """Take requests up again that had been taken before."""
        known = {(r.delivery.connection, r.delivery.tag) for r in self.arrived}
        self.arrived += [
            r for r in requests if (r.delivery.connection, r.delivery.tag) not in known
        ]

    def turn(self) -> None:
        """Admit what has arrived.

        Raises:
            What `STORE_ERRORS` names: the store is away; nothing was answered.
        """
        if len(self.arrived) < _MOST:
            for _ in range(min(_SUSPENDS, len(self.suspends))):
                self._read(*self.suspends.popleft())
        if not (arrived := self.arrived[:_MOST]):
            return
        now = time.time_ns()
        admissions = self._admissions(arrived, now)
        accepted = self.store.accept(
            [request for request, admission in admissions if admission == TAKE],
            [
                messages.about(
                    request, admission.transition, request.history, now, cause=admission.cause
                )
                for request, admission in admissions
                if isinstance(admission, End)
            ],
            now,
            self.snapshots.ahead,
        )
        if offs := [request.command for request, how in admissions if _is_unused_off(request, how)]:
            self.store.note_power_offs(offs)
        del self.arrived[: len(arrived)]
        ends = iter(accepted.ends)
        for request, admission in admissions:
            if isinstance(admission, End):
                self._end(request, admission, next(ends), now)
            elif isinstance(admission, Cause):
                self.publisher.accepted(request, now)
                self.publisher.parked(request, admission, tier_of(request))
            else:
                self._take(request, accepted, now)
        if self._crowded:
            self._end_surplus(now)

    def _end_surplus(self, now: int) -> None:
        """End the oldest requests of nodes that have many: the newest one decides."""
        nodes = [node for name in self._crowded if (node := self.state.nodes.get(name)) is not None]
        self._crowded.clear()
        ending = [replace(node, requests=gone) for node in nodes if (gone := surplus(node))]
        told = [event for node in ending for event in messages.outcomes(node, _OVERTAKEN, now)]
        stored = iter(self.store.accept([], told, now).ends if told else ())
        for node in ending:
            whole = self.state.nodes[node.name]
            left = tuple(one for one in whole.requests if one not in node.requests)
            self.state.put(replace(whole, requests=left))
            for request in node.requests:
                event, body = next(stored)
                self.publisher.ended(request, body, event)

    def _admissions(self, arrived: Sequence[Pending], now: int) -> list[tuple[Pending, Admission]]:
        ahead = self.settings.power.clock_ahead
        clock = ClockLimit(now + int(ahead * 1e9))
        last = max(arrived, key=attrgetter("command.generation"))
        if last.command.generation > now + CLOCKS_DIFFER:
            if last.command.generation > clock.until:
                self.ahead_at = time.monotonic()
                self.publisher.refused(last, ahead_of_time(last.command, now), now)
            clock = self.store.clock_limit(ahead, now)
        # a boot whose time is over has rested, too
        asks_slurm = last.command.generation > clock.until or any(
            one.rested or one.command.is_slurms_power_off for one in arrived
        )
        slurm = self.snapshots.view() if asks_slurm else None
        return [(r, admit(r, self.settings.nodes, slurm, clock, now)) for r in arrived]

    def _end(self, request: Pending, end: End, stored: StoredEvent, now: int) -> None:
        event, body = stored
        self.publisher.accepted(request, now)
        self.publisher.ended(request, body, event)
        if end.alarm:
            self.publisher.refused(request, end.cause, now)

    def _take(self, request: Pending, accepted: Accepted, now: int) -> None:
        # again after a lost connection, which may have lost it: the audit ignores a second copy
        self.publisher.accepted(request, now)
        ended = accepted.ended.get(request.key)
        if ended is not None:
            # the round had ended, but its delivery was not acknowledged: publish the same again
            self.publisher.ended(request, ended.event)
            return
        row = accepted.rows[request.command.node]
        if row.lease_owner != self.store.owner:
            self.publisher.parked(request, HELD_ELSEWHERE, FIRST_TIER)
        elif row.held is not None:
            self.publisher.parked(request, on_hold(row.held), LATER_TIER)
            if row.node not in self.state.nodes:
                self.state.batch.released.add(row.node)
        else:
            self.publisher.taken(request)
            self._join(request, row, accepted)

    def _join(self, request: Pending, row: DesiredRow, accepted: Accepted) -> None:
        now = time.monotonic()
        node = self.state.nodes.get(row.node)
        if node is None:
            name = self.settings.nodes[row.node]
            group = self.settings.groups[name]
            node = PendingNode(row.node, name, group, row, fresh_after=now, patient_since=now)
        ids = {row.request_id, request.id}
        actions = {key: made for key, made in accepted.actions.items() if key[0] in ids}
        node = joined(node, request, row, actions, accepted.waited, now)
        self.state.put(node, touch=True)
        if len(node.requests) > MOST_REQUESTS:
            self._crowded.add(row.node)
        if request.id == row.request_id:
            behind = self.state.agenda.behind
            (behind.add if request.late else behind.discard)(row.node)
        self.state.batch.released.discard(row.node)
