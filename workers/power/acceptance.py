"""Acceptance: from deliveries to nodes under reconciliation, or to an answer at once."""

import time
from collections.abc import Mapping, Sequence

import structlog

from schemas.errors import MalformedMessageError
from schemas.events import Cause, CloudAction
from workers.amqp import Delivery
from workers.power import intake, post
from workers.power.board import HELD, Board, log_accepted
from workers.power.book import Accepted, Book
from workers.power.desired import Row
from workers.power.intake import Pending
from workers.power.work import Key, Work
from workers.settings import Settings
from workers.topology import RETRY_TIERS

_FIRST_TIER = next(iter(RETRY_TIERS))


class Acceptance:
    """Takes deliveries in three steps, so that each is answered once though the store goes between.

    Args:
        settings: all of lamplighter.toml.
        board: the nodes.
        book: the store.
    """

    def __init__(self, settings: Settings, board: Board, book: Book) -> None:
        self._settings = settings
        self._board = board
        self._book = book
        self._log = structlog.get_logger()

    def read(self, deliveries: Sequence[Delivery]) -> list[Pending]:
        """The requests; what cannot be read is dead-lettered."""
        pending = []
        for delivery in deliveries:
            try:
                pending.append(intake.read(delivery, self._settings.cluster))
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
            bodies = self._book.end([(r, post.refusal(r, cause, now)) for r, cause in refused])
            for (request, cause), body in zip(refused, bodies, strict=True):
                self._open(request, now)
                self._board.publish_ending(request, body)
                self._board.outbox.tell(post.event(post.refused(request, cause, now)))
        return [r for r, cause in zip(pending, causes, strict=True) if cause is None]

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
        if request.past.attempt == 0 and request.past.parked == 0:
            self._open(request, now)
        row = accepted.rows[request.command.node]
        if row.lease_owner != self._book.owner:
            self._board.park_request(request, HELD, _FIRST_TIER)
            return
        self._take_node(request, row, accepted.actions)
        log_accepted(request)

    def _open(self, request: Pending, now: int) -> None:
        """Tell of a round's first delivery."""
        self._board.figures.accepted(request.command.kind)
        self._board.outbox.send(request.delivery, [post.accepted(request, now)])

    def _take_node(
        self, request: Pending, row: Row, actions: Mapping[Key, list[CloudAction]]
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
        letter = post.dead_letter(delivery, past, Cause("malformed", str(error)), now)
        notice = post.rejected(delivery, self._settings.cluster, error, now)
        self._board.outbox.finish(delivery, [letter, post.event(notice)])
