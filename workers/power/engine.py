"""The engine: one thread that owns all pending nodes and decides; calls and listings run elsewhere.

Everything reaches it as a function in its inbox. A turn takes in what is there, accepts new
deliveries, reconciles the nodes that something has happened to, and settles in one commit those
that have got as far as they will.
"""

import queue
import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from schemas.events import Cause, Transition
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.broker.topology import RETRY_TIERS
from workers.clouds.actions import NEEDS_ROOM
from workers.clouds.driver import CloudDriver
from workers.config.settings import Settings
from workers.power.acceptance import Acceptance
from workers.power.calls import Calls
from workers.power.decide import Act, Fail, Settled
from workers.power.desired_state import DesiredRow, Observation
from workers.power.metrics import PowerMetrics
from workers.power.node_work import Work
from workers.power.outbox import Callback, Outbox
from workers.power.pending_nodes import HELD, NodeEnding, PendingNodes, on_hold
from workers.power.power_store import PowerStore, RequestEnding
from workers.power.slurm_view import SnapshotReader
from workers.power.snapshot_listings import Listings
from workers.store.database import STORE_ERRORS
from workers.store.group_images import GroupImage

_FIRST_TIER, _LATER_TIER = list(RETRY_TIERS)[:2]
_IDLE = 0.2
_STORE_RETRY = 1.0
_HOUSEKEEPING = 1.0


class Engine:
    """See the module.

    Args:
        settings: all of lamplighter.toml.
        link: gives deliveries (to `deliver`), takes publishes.
        book: the store.
        witness: what Slurm has said of itself.
        open_site: makes a cloud's site, given its name and what it reports by.
        figures: are told what happens.
    """

    def __init__(  # noqa: PLR0913 - each is a world of its own
        self,
        settings: Settings,
        link: Link,
        book: PowerStore,
        witness: SnapshotReader,
        open_site: Callable[[str, Callable[[Callback], None]], CloudDriver],
        *,
        figures: PowerMetrics,
    ) -> None:
        self._settings = settings
        self._link = link
        self._book = book
        self._witness = witness
        self._inbox: queue.SimpleQueue[Callback] = queue.SimpleQueue()
        self._sites = {name: open_site(name, self._inbox.put) for name in settings.clouds}
        self._board = PendingNodes(
            Outbox(link, self._inbox.put), settings.power.attempts, figures=figures
        )
        self._calls = Calls(settings.power, self._board, book, self._sites, self._token_service_is)
        self._acceptance = Acceptance(settings, self._board, book, witness)
        self._listings = Listings(settings, witness, self._sites)
        self._arrived: list[Delivery] = []
        self._connection = 0
        self._token_service_away = False
        self._store_away_until = 0.0
        self._next_housekeeping = 0.0
        self._next_renewal = 0.0
        self._log = structlog.get_logger()

    # -- called by the link's thread

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery in."""
        self._inbox.put(partial(self._arrive, delivery))

    def connected(self, connection: int) -> None:
        """The link has a new connection: what came over the old one will come again."""
        self._inbox.put(partial(self._forget_before, connection))

    # -- the loop

    @property
    def state(self) -> str:
        """One line for `lamplighter status`."""
        if self._store_away_until:
            return "the store is away"
        if self._token_service_away:
            return "the token service is away"
        sick = [f"{s.name}: {s.health.away.error}" for s in self._sites.values() if s.health.away]
        pending = f"{len(self._board.works)} nodes pending"
        if dry := self._settings.dry_groups:
            pending = f"DRY RUN of {', '.join(dry)}: nothing is done; {pending}"
        if self._witness.silent:
            pending += "; suspends wait for a snapshot of Slurm"
        return f"{pending}; away: {', '.join(sick)}" if sick else pending

    def turn(self) -> None:
        """One turn; waits at most _IDLE seconds for something to happen."""
        self._board.figures.look(self._board.works.values(), self._sites.values())
        try:
            self._take_in()
            if time.monotonic() < self._store_away_until:
                return
            self._record()
            self._accept()
            self._housekeep()
            self._listings.turn()
            self._reconcile()
            self._settle()
            self._calls.make()
        except STORE_ERRORS as error:
            self._store_went(error)
            return
        if self._store_away_until:
            self._store_away_until = 0.0
            self._log.info("store_back")
            self._consume_again()
        self._calls.list_due()
        self._board.outbox.resend()

    def close(self) -> None:
        """End the calls under way, and give the nodes up: others may go on at once."""
        for site in self._sites.values():
            site.close()
        try:
            self._take_in()
            self._record()
            self._board.given_up.update(self._board.works)
            self._settle()
        except STORE_ERRORS as error:
            self._log.warning("leases_left_to_expire", error=type(error).__name__)

    def _arrive(self, delivery: Delivery) -> None:
        self._arrived.append(delivery)

    def _take_in(self) -> None:
        due = self._calls.next_due()
        wait = _IDLE if due is None else min(max(due - time.monotonic(), 0.001), _IDLE)
        try:
            self._inbox.get(timeout=wait)()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            pass

    # -- accepting

    def _accept(self) -> None:
        # what was answered must not be answered again when the store goes at a later step
        pending = self._acceptance.read(self._arrived)
        self._arrived = [request.delivery for request in pending]
        pending = self._acceptance.refuse(pending)
        self._arrived = [request.delivery for request in pending]
        pending = self._acceptance.confirm(pending)
        self._arrived = [request.delivery for request in pending]
        if pending:
            self._acceptance.take_up(pending)
            self._arrived.clear()

    # -- reconciling

    def _reconcile(self) -> None:
        for node in list(self._board.dirty):
            work = self._board.works.get(node)
            if work is not None and not work.calling and work.fault is None:
                self._reconcile_node(work)
        self._board.dirty.clear()

    def _reconcile_node(self, work: Work) -> None:
        site = self._sites[work.group.cloud]
        if work.node in self._board.ending:
            return
        if site.health.away is not None:
            self._board.park(work, site.health.away, site.health.rest(time.monotonic()))
            return
        if work.overtaken:
            self._board.end(work, Transition.COMPLETED, None, None)
            return
        decision = self._calls.decide(work)
        if isinstance(decision, Settled):
            self._board.end(work, Transition.COMPLETED, None, decision.server)
        elif isinstance(decision, Fail):
            self._board.end(work, Transition.FAILED, decision.cause, None)
        elif isinstance(decision, Act) and work.group.dry_run:
            self._rehearse(site, work, decision)
        elif isinstance(decision, Act) and not work.queued:
            self._queue(site, work, decision)

    def _rehearse(self, site: CloudDriver, work: Work, act: Act) -> None:
        """In a dry run nothing is tried: what would be done must be seen for sure."""
        if site.view.as_of > work.look_after:
            servers = site.view.find(work.node, work.row.server_id)
            self._board.rehearse(work, act, servers[0] if len(servers) == 1 else None)

    def _queue(self, site: CloudDriver, work: Work, act: Act) -> None:
        refusal = self._board.cooling.refusal(work.group_name, time.monotonic())
        if refusal is not None and act.action in NEEDS_ROOM:
            self._board.end(work, Transition.FAILED, refusal, None)
            return
        work.queued = True
        site.queue(work.node, work.row.desired)

    def _record(self) -> None:
        """Keep actions as they are made: whoever goes on after a crash must know them."""
        if self._board.acted or self._board.unsure:
            self._book.record(self._board.acted, self._board.unsure)
            self._board.acted, self._board.unsure = {}, set()

    def _settle(self) -> None:
        """Write what this turn has brought: outcomes, and leases given up."""
        if self._board.ending:
            self._settle_endings()
        given_up, self._board.given_up = self._board.given_up, set()
        if given_up:
            self._book.release(sorted(given_up))

    def _settle_endings(self) -> None:
        now, ending = time.time_ns(), self._board.ending
        self._board.ending = {}
        endings: dict[str, tuple[int, list[RequestEnding]]] = {}
        seen, kept = [], []
        for node, end in ending.items():
            work = self._board.works[node]
            events = work.events(end.transition, end.cause, end.server, now)
            endings[node] = work.row.generation, events
            if work.baking is not None and work.image_id is not None:
                kept.append(GroupImage.of(work.baking, work.group_name, work.image_id, now))
            if not work.overtaken:
                seen.append(_observed(node, end, now))
        ended, moved = self._book.settle(endings, seen, kept)
        for node, bodies in ended.items():
            for request, body in bodies:
                self._board.publish_ending(request, body)
            del self._board.works[node]
        self._moved(moved)

    # -- keeping house

    def _housekeep(self) -> None:
        now = time.monotonic()
        if self._board.reread:
            self._reread()
        if now < self._next_housekeeping or not self._board.works:
            return
        self._next_housekeeping = now + _HOUSEKEEPING
        if now >= self._next_renewal:
            self._next_renewal = now + self._settings.power.lease / 4
            self._book.renew()
        self._board.reread.update(self._board.works)
        self._reread()
        for work in list(self._board.works.values()):
            if any(now - p.since > self._settings.power.hold for p in work.pending):
                cause = Cause("held_long", "still pending; rests so that the broker keeps it")
                self._board.park(work, cause, _LATER_TIER)
        self._board.dirty.update(self._board.works)

    def _reread(self) -> None:
        """Another worker may have accepted something newer, or taken a lease that ended."""
        names = [node for node in self._board.reread if node in self._board.works]
        self._board.reread.clear()
        rows = self._book.read(names)
        self._moved(
            {
                node: row
                for node, row in rows.items()
                if row.generation != self._board.works[node].row.generation
                or row.lease_owner != self._book.owner
                or row.held is not None
            }
        )

    def _moved(self, rows: Mapping[str, DesiredRow]) -> None:
        for node, row in rows.items():
            work = self._board.works[node]
            self._board.follow(work, row)
            if row.lease_owner != self._book.owner:
                self._board.park(work, HELD, _FIRST_TIER)
            elif row.held is not None:
                self._board.park(work, on_hold(row.held), _LATER_TIER)

    def _forget_before(self, connection: int) -> None:
        self._connection = connection
        self._board.outbox.forget_before(connection)
        self._arrived = [d for d in self._arrived if d.connection >= connection]
        for work in list(self._board.works.values()):
            work.pending = [p for p in work.pending if p.delivery.connection >= connection]
            if not work.pending and not work.calling:
                self._board.give_up(work)

    def _store_went(self, error: Exception) -> None:
        """Without the store nothing is known: start over with all that is ours, later."""
        if not self._store_away_until:
            self._log.warning("store_away", error=type(error).__name__)
            self._link.pause()
        self._witness.doubt()
        self._store_away_until = time.monotonic() + _STORE_RETRY
        held = [p.delivery for work in self._board.works.values() for p in work.pending]
        self._arrived += [delivery for delivery in held if delivery not in self._arrived]
        self._board.clear()

    def _token_service_is(self, there: bool) -> None:  # noqa: FBT001 - said as a predicate
        self._token_service_away = not there
        if there:
            self._log.info("token_service_back")
            self._consume_again()
        else:
            self._log.warning("token_service_away")
            self._link.pause()

    def _consume_again(self) -> None:
        if not self._store_away_until and not self._token_service_away:
            self._link.resume()


def _observed(node: str, end: NodeEnding, now: int) -> Observation:
    status = end.server.status if end.server else end.cause.error if end.cause else "NONE"
    return Observation(node, end.server.id if end.server else None, status, now)
