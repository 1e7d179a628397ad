"""Reception: from deliveries to pending nodes, or to an answer at once."""

import time
from collections.abc import Sequence

from schemas.events import Cause
from workers.config.settings import Settings
from workers.power import messages
from workers.power.admit import FIRST_TIER, LATER_TIER, TAKE, Admission, End, Park, admit
from workers.power.intake import Pending
from workers.power.node import PendingNode, joined
from workers.power.node_row import DesiredRow
from workers.power.power_store import Accepted, PowerStore
from workers.power.publisher import Publisher
from workers.power.slurm_view import SnapshotReader
from workers.power.state import EngineState
from workers.power.suspend_guard import is_guarded
from workers.store.generations import needs_clock_ahead

HELD_ELSEWHERE = Cause("lease_held", "another worker acts on this node")


def on_hold(reason: str) -> Cause:
    """Why nothing is done about a node that is on hold."""
    return Cause("on_hold", f"the node is on hold: {reason}")


class Reception:
    """Takes requests in: one transaction, then the answers, so that each is given once.

    Args:
        settings: all of lamplighter.toml.
        state: of the engine.
        store: the state store.
        snapshots: what Slurm's snapshots say.
        publisher: answers.

    Attributes:
        arrived: the requests for the next `turn`.
    """

    def __init__(
        self,
        settings: Settings,
        state: EngineState,
        store: PowerStore,
        snapshots: SnapshotReader,
        publisher: Publisher,
    ) -> None:
        self._settings = settings
        self._state = state
        self._store = store
        self._snapshots = snapshots
        self._publisher = publisher
        self.arrived: list[Pending] = []

    def forget_before(self, connection: int) -> None:
        """Drop what came over earlier connections: it comes again."""
        self.arrived = [r for r in self.arrived if r.delivery.connection >= connection]

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
        now = time.time_ns()
        admissions = self._admissions(now)
        taken = [request for request, admission in admissions if admission == TAKE]
        ends = [
            (request, messages.ended(request, admission.transition, admission.cause, now))
            for request, admission in admissions
            if isinstance(admission, End)
        ]
        accepted = self._store.accept(taken, ends, now)
        self.arrived.clear()
        bodies = iter(accepted.bodies)
        for request, admission in admissions:
            if isinstance(admission, End):
                self._end(request, admission, next(bodies), now)
            elif isinstance(admission, Park):
                self._publisher.accepted(request, now)
                self._publisher.parked(request, admission.cause, admission.tier)
            else:
                self._take(request, accepted, now)

    def _admissions(self, now: int) -> list[tuple[Pending, Admission]]:
        slurm = None
        if any(is_guarded(request.command) for request in self.arrived):
            slurm = self._snapshots.view()
        nodes, ahead = self._settings.nodes, self._clock_ahead(now)
        return [(r, admit(r, nodes, slurm, ahead, now)) for r in self.arrived]

    def _clock_ahead(self, now: int) -> float:
        usual = self._settings.power.clock_ahead
        if any(needs_clock_ahead(r.command.generation, now) for r in self.arrived):
            return self._store.clock_ahead(usual, now)
        return usual

    def _end(self, request: Pending, end: End, body: bytes, now: int) -> None:
        self._publisher.accepted(request, now)
        self._publisher.ended(request, body)
        if end.alarm:
            self._publisher.refused(request, end.cause, now)

    def _take(self, request: Pending, accepted: Accepted, now: int) -> None:
        # again after a lost connection, which may have lost it: the audit ignores a second copy
        self._publisher.accepted(request, now)
        ended = accepted.ended.get(request.key)
        if ended is not None:
            # the round had ended, but its delivery was not acknowledged: publish the same again
            self._publisher.ended(request, ended.event)
            return
        row = accepted.rows[request.command.node]
        if row.lease_owner != self._store.owner:
            self._publisher.parked(request, HELD_ELSEWHERE, FIRST_TIER)
        elif row.held is not None:
            self._publisher.parked(request, on_hold(row.held), LATER_TIER)
            if row.node not in self._state.nodes:
                self._state.batch.released.add(row.node)
        else:
            self._join(request, row, accepted)
            self._publisher.taken(request)

    def _join(self, request: Pending, row: DesiredRow, accepted: Accepted) -> None:
        now = time.monotonic()
        node = self._state.nodes.get(row.node)
        if node is None:
            name = self._settings.nodes[row.node]
            group = self._settings.groups[name]
            node = PendingNode(row.node, name, group, row, fresh_after=now, patient_since=now)
        ids = {row.request_id, request.id}
        actions = {key: made for key, made in accepted.actions.items() if key[0] in ids}
        self._state.put(joined(node, request, row, actions, accepted.waited, now))
        self._state.batch.released.discard(row.node)
        self._state.touch([row.node])
