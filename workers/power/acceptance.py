"""Acceptance: from deliveries to nodes under reconciliation, or to an answer at once."""

import time
from collections.abc import Mapping, Sequence

import structlog

from schemas.errors import MalformedMessageError
from schemas.events import Cause, CloudAction
from workers.broker import outgoing
from workers.broker.delivery import Delivery
from workers.broker.topology import RETRY_TIERS
from workers.config.settings import Settings
from workers.power import intake, messages
from workers.power.desired_state import DesiredRow
from workers.power.intake import Pending
from workers.power.node_work import RoundKey, Work
from workers.power.pending_nodes import HELD, PendingNodes, log_accepted, on_hold
from workers.power.power_store import Accepted, PowerStore
from workers.power.slurm_view import SnapshotReader
from workers.power.suspend_guard import Overtaken, Passed, Waits, is_gated, judge

_FIRST_TIER, _LATER_TIER = list(RETRY_TIERS)[:2]
# So often in the first tier, then in the next: about a minute of the first.
_SOON = 12


class Acceptance:
    """Takes deliveries in four steps, so that each is answered once though the store goes between.

    Args:
        settings: all of lamplighter.toml.
        board: the nodes.
        book: the store.
        witness: what Slurm has said.
    """

    def __init__(
        self, settings: Settings, board: PendingNodes, book: PowerStore, witness: SnapshotReader
    ) -> None:
        self._settings = settings
        self._board = board
        self._book = book
        self._witness = witness
        self._log = structlog.get_logger()

    def read(self, deliveries: Sequence[Delivery]) -> list[Pending]:
        """The requests; what cannot be read is dead-lettered."""
        pending = []
        for delivery in deliveries:
            try:
                settings = self._settings
                pending.append(intake.read(delivery, settings.cluster, settings.is_dry))
            except MalformedMessageError as error:
                self._reject_unreadable(delivery, error)
        return pending

    def refuse(self, pending: Sequence[Pending]) -> list[Pending]:
        """End what cannot even be tried; return the rest."""
        now = time.time_ns()
        nodes, ahead = self._settings.nodes, self._settings.power.clock_ahead
        causes = [intake.refusal(request, nodes, ahead, now) for request in pending]
        refused = [(r, cause) for r, cause in zip(pending, causes, strict=True) if cause]
        if refused:
            bodies = self._book.end([(r, messages.refusal(r, cause, now)) for r, cause in refused])
            for (request, cause), body in zip(refused, bodies, strict=True):
                self._open(request, now)
                self._board.publish_ending(request, body)
                self._board.outbox.tell(outgoing.event(messages.refused(request, cause, now)))
        return [r for r, cause in zip(pending, causes, strict=True) if cause is None]

    def confirm(self, pending: Sequence[Pending]) -> list[Pending]:
        """Let rest, or end, what Slurm has not confirmed or has gone back on; return the rest."""
        view = None
        if any(is_gated(request.command) for request in pending):
            view = self._witness.view()
        if view is None:
            return list(pending)
        now = time.time_ns()
        judged = [(request, judge(request.command, view, now)) for request in pending]
        ended = [(r, verdict.cause) for r, verdict in judged if isinstance(verdict, Overtaken)]
        bodies = self._book.end([(r, messages.overtaken(r, cause, now)) for r, cause in ended])
        for (request, _), body in zip(ended, bodies, strict=True):
            self._tell_accepted(request, now)
            self._board.publish_ending(request, body)
        for request, verdict in judged:
            if isinstance(verdict, Waits):
                self._tell_accepted(request, now)
                tier = _FIRST_TIER if request.past.parked < _SOON else _LATER_TIER
                self._board.park_request(request, verdict.cause, tier)
        return [request for request, verdict in judged if isinstance(verdict, Passed)]

    def take_up(self, pending: Sequence[Pending]) -> None:
        """Raise desired states, take leases, and put the nodes on the board.

        Raises:
            sqlalchemy.exc.DBAPIError: the store is away; nothing was answered.
        """
        now = time.time_ns()
        accepted = self._book.accept(pending, now)
        for request in pending:
            self._take_up(request, accepted, now)

    def _take_up(self, request: Pending, accepted: Accepted, now: int) -> None:
        ended = accepted.ended.get(request.key)
        if ended is not None:
            # the round had ended, but its delivery was not acknowledged: say the same again
            self._board.publish_ending(request, ended.event)
            return
        self._tell_accepted(request, now)
        row = accepted.rows[request.command.node]
        if row.lease_owner != self._book.owner:
            self._board.park_request(request, HELD, _FIRST_TIER)
            return
        if row.held is not None:
            self._board.park_request(request, on_hold(row.held), _LATER_TIER)
            if row.node not in self._board.works:
                self._board.given_up.add(row.node)
            return
        self._take_node(request, row, accepted.actions)
        log_accepted(request)

    def _tell_accepted(self, request: Pending, now: int) -> None:
        """Once a round: what comes back from a tier has been accepted before."""
        if request.past.attempt == 0 and request.past.parked == 0:
            self._open(request, now)

    def _open(self, request: Pending, now: int) -> None:
        self._board.figures.accepted(request.command.kind)
        self._board.outbox.send(request.delivery, [messages.accepted(request, now)])

    def _take_node(
        self, request: Pending, row: DesiredRow, actions: Mapping[RoundKey, list[CloudAction]]
    ) -> None:
        work = self._board.works.get(row.node)
        if work is None:
            name = self._settings.nodes[row.node]
            group = self._settings.groups[name]
            work = Work(row.node, name, group, row, time.time_ns(), time.monotonic())
            self._board.works[row.node] = work
        self._board.follow(work, row)
        # what was seen before ends nothing: whoever had the request may have acted
        work.look_later(time.monotonic())
        self._board.given_up.discard(row.node)
        work.pending.append(request)
        for key, made in actions.items():
            if key[0] in {row.request_id, request.command.id}:
                work.actions.setdefault(key, made)

    def _reject_unreadable(self, delivery: Delivery, error: MalformedMessageError) -> None:
        now = time.time_ns()
        self._log.error("message_rejected", queue=delivery.queue, field=error.field)
        past = intake.past_from(delivery.headers)
        letter = messages.dead_letter(delivery, past, Cause("malformed", str(error)), now)
        notice = messages.rejected(delivery, self._settings.cluster, error, now)
        self._board.outbox.finish(delivery, [letter, outgoing.event(notice)])
