"""The engine: one thread that owns all pending nodes and decides; calls and listings run elsewhere.

Each turn takes the events of its inbox, learns from them, receives new requests, takes the next step of
the nodes that something has happened to, writes all of it in one commit, and then acts.
"""

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf

import structlog

from schemas.events import Cause
from workers.broker.delivery import Delivery
from workers.broker.link import Link
from workers.broker.outgoing import Confirmed, Outbox
from workers.clouds.driver import Answered, CloudDriver, CloudEvent, Listed
from workers.clouds.snapshot_listings import SnapshotListings
from workers.config.settings import Settings
from workers.power.admit import FIRST_TIER, LATER_TIER
from workers.power.backlog import Backlog
from workers.power.carry_out import StepTaker
from workers.power.cloud_events import CloudEvents
from workers.power.events import Arrived, Connected, Counted, Event
from workers.power.messages import node_end
from workers.power.metrics import PowerMetrics
from workers.power.node import moved
from workers.power.publisher import Publisher
from workers.power.reception import HELD_ELSEWHERE, Reception, on_hold
from workers.power.state import EngineState
from workers.store.database import STORE_ERRORS, store_problem
from workers.store.heartbeats import problem, store_away
from workers.store.nodes import DesiredRow
from workers.store.power_store import Batch, PowerStore
from workers.store.slurm_view import SnapshotReader

_IDLE = 0.5
_STORE_RETRY = 1.0
_SECOND = 1.0
# Seconds; a request from the future that waits comes again sooner.
_AHEAD_SHOWN = 60.0
# Seconds in which what calls have done is gathered for one commit; outcomes do not wait.
_GATHER = 0.05
HELD_LONG = Cause("held_long", "still pending; rests so that the broker keeps its delivery")


class Engine:
    """Drives the nodes of one worker.

    `link` gives deliveries (to `deliver`) and takes publishes; `open_cloud` opens a cloud, given its
    name and where it posts its events.
    """

    def __init__(  # noqa: PLR0913 - each is a world of its own
        self,
        settings: Settings,
        link: Link,
        store: PowerStore,
        snapshots: SnapshotReader,
        open_cloud: Callable[[str, Callable[[CloudEvent], None]], CloudDriver],
        *,
        metrics: PowerMetrics,
    ) -> None:
        power = settings.power
        self._settings = settings
        self._link = link
        self._store = store
        self._snapshots = snapshots
        self._metrics = metrics
        self._inbox: queue.Queue[Event] = queue.Queue()
        clouds = {name: open_cloud(name, self._inbox.put) for name in settings.clouds}
        state = EngineState()
        self._clouds, self._state = clouds, state
        self._outbox = Outbox(link, self._inbox.put)
        self._publisher = Publisher(self._outbox, settings.cluster, metrics)
        self._reception = Reception(settings, state, store, snapshots, self._publisher)
        self._backlog = Backlog(link, state, self._inbox.put)
        self._listings = SnapshotListings(settings, snapshots, clouds)
        self._cloud_events = CloudEvents(state, clouds, power.api_timeout, metrics)
        # so soon after its boot a node registers, if ever
        within = 2.0 * settings.slurm.resume_timeout
        cloud_of = {node: settings.groups[name].cloud for node, name in settings.nodes.items()}
        self._steps = StepTaker(
            power, state, clouds, store, snapshots, self._publisher, within, cloud_of
        )
        self._reread: set[str] = set()
        self._is_paused = False
        self._store_error: BaseException | None = None
        self._store_away_until, self._store_state = 0.0, ""
        self._due_at, self._commit_at = 0.0, inf
        self._next_second = self._next_renewal = 0.0
        self._log = structlog.get_logger()

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery in."""
        self._inbox.put(Arrived(delivery))

    def connected(self, connection: int) -> None:
        """Note that the link has a new connection."""
        self._inbox.put(Connected(connection))

    @property
    def state(self) -> str:
        """One line for `lamplighter status`."""
        if self._store_away_until:
            return self._store_state
        if self._is_without_tokens():
            return problem("the token service is away; look at the log of the worker tokens")
        pending = f"{len(self._state.nodes)} nodes pending"
        if dry := self._settings.dry_groups:
            pending = f"DRY RUN of {', '.join(dry)}: nothing is done; {pending}"
        if self._snapshots.silent:
            pending += "; suspends wait for a snapshot of Slurm"
        if ahead := time.monotonic() - self._reception.ahead_at < _AHEAD_SHOWN:
            pending += "; requests come from the future: see lamplighter clock show"
        if away := [f"{c.name}: {why}" for c in self._clouds.values() if (why := c.trouble)]:
            pending += f"; away: {', '.join(away)}"
        return problem(pending) if away or ahead else pending

    def turn(self) -> None:
        """One turn; waits at most _IDLE seconds for something to happen."""
        events = self._drain()
        now = time.monotonic()
        if not self._learn(events) and now < self._due_at:
            return
        try:
            self._raise_store_error()
            if now < self._store_away_until:
                self._due_at = self._store_away_until
                return
            if self._reception.arrived or self._reception.suspends:
                self._commit(inf)  # what was done about these nodes is read again with their rows
                self._reception.turn()
            if now >= self._next_second or self._reread:
                self._keep_house(now)
            if any(cloud.ordered is not None for cloud in self._clouds.values()):
                self._listings.keep()
            agenda = self._state.agenda
            if agenda.touched or agenda.next_at <= now:
                self._steps.turn()
            due = min(self._commit(now), self._steps.act())
            if agenda.behind:
                due = min(due, self._backlog.count(now))
        except STORE_ERRORS as error:
            self._lose_store(error)
            return
        self._store_is_there()
        later = min(self._next_second, agenda.next_at, due)
        more = agenda.touched or self._reception.arrived or self._reception.suspends
        self._due_at = 0.0 if more else later

    def close(self) -> None:
        """End the calls under way, and release the nodes: others may go on at once."""
        for cloud in self._clouds.values():
            cloud.close()
        self._due_at = 0.0
        self._learn(self._drain())
        try:
            self._raise_store_error()
            self._state.batch.waited |= self._state.waited(time.monotonic())
            for name in list(self._state.nodes):
                self._state.release(name)
            self._commit(inf)
        except STORE_ERRORS as error:
            self._log.warning("leases_left_to_expire", error=store_problem(error))

    def _drain(self) -> list[Event]:
        """The events that are there; waits for the first one until something else is due."""
        wait = min(max(self._due_at - time.monotonic(), 0.001), _IDLE)
        events: list[Event] = []
        with suppress(queue.Empty):
            events.append(self._inbox.get(timeout=wait))
            events += [self._inbox.get_nowait() for _ in range(self._inbox.qsize())]
        return events

    def _learn(self, events: Sequence[Event]) -> bool:
        """Learn from events; whether one of them may change what is to be done."""
        for event in events:
            match event:
                case Arrived(delivery):
                    self._reception.receive(delivery)
                case Confirmed():
                    self._outbox.confirmed(event)
                case Listed():
                    self._cloud_events.listed(event)
                case Answered():
                    if isinstance(event.answer, STORE_ERRORS):
                        self._store_error = event.answer
                    self._reread |= self._cloud_events.answered(event)
                case Counted(depths):
                    self._backlog.counted(depths, time.monotonic())
                case Connected(connection):
                    self._reconnect(connection)
        return not all(isinstance(event, Confirmed) for event in events)

    def _reconnect(self, connection: int) -> None:
        """What came over earlier connections comes again."""
        self._outbox.forget_before(connection)
        self._reception.forget_before(connection)
        for node in list(self._state.nodes.values()):
            kept = tuple(r for r in node.requests if r.delivery.connection >= connection)
            self._state.put(replace(node, requests=kept), touch=True)

    def _commit(self, now: float) -> float:
        """Write what was done and decided; when the next commit is due, infinity if none is."""
        state, finished, batch = self._state, self._state.finished, self._state.batch
        if not finished and batch == Batch():
            return inf
        if not (finished or batch.released or batch.unsettled):
            self._commit_at = min(self._commit_at, now + _GATHER)
            if now < self._commit_at:
                return self._commit_at
        self._commit_at = inf
        time_ns = time.time_ns()
        batch.finished = {name: node_end(*how, time_ns) for name, how in finished.items()}
        committed = self._store.commit(batch, time_ns)
        state.batch, state.finished = Batch(), {}
        for name, ends in committed.ended.items():
            node, _ = finished[name]
            cloud = self._clouds[node.group.cloud]
            if name in cloud.health.failing:
                cloud.health = cloud.health.round_ended(name)
            state.drop(name)
            for request, (event, body) in zip(node.requests, ends, strict=True):
                self._publisher.ended(request, body, event)
        if committed.moved:
            self._move(committed.moved)
        return inf

    def _keep_house(self, now: float) -> None:
        if now >= self._next_second:
            self._next_second = now + _SECOND
            self._each_second(now)
        if names := sorted(self._reread & self._state.nodes.keys()):
            self._move(self._store.read(names))
        self._reread.clear()

    def _each_second(self, now: float) -> None:
        nodes = self._state.nodes
        self._metrics.observe(nodes.values(), self._clouds.values())
        self._listings.order()
        self._outbox.resend()
        if not nodes:
            return
        if now >= self._next_renewal:
            self._next_renewal = now + self._settings.power.lease / 4
            self._store.renew(nodes, self._state.waited(now))
        for node in list(nodes.values()):
            if any(now - r.since > self._settings.power.hold for r in node.requests):
                self._steps.park(node, HELD_LONG, LATER_TIER)
        known = {name: node.row.generation for name, node in nodes.items()}
        self._reread.update(self._store.changed(known))

    def _move(self, rows: Mapping[str, DesiredRow]) -> None:
        """Follow rows that another process may have changed."""
        now = time.monotonic()
        for name, row in rows.items():
            node = moved(self._state.nodes[name], row, now)
            self._state.put(node, touch=True)
            if row.lease_owner != self._store.owner:
                self._steps.park(node, HELD_ELSEWHERE, FIRST_TIER)
            elif row.held is not None:
                self._steps.park(node, on_hold(row.held), LATER_TIER)

    def _store_is_there(self) -> None:
        if self._store_away_until:
            self._store_away_until = 0.0
            self._log.info("store_back")
        self._consume(not self._is_without_tokens())

    def _raise_store_error(self) -> None:
        if error := self._store_error:
            self._store_error = None
            raise error

    def _lose_store(self, error: BaseException) -> None:
        """Without the store nothing is known: start again with all that is ours, later."""
        if not self._store_away_until:
            self._log.warning("store_away", error=store_problem(error))
        self._store_state = store_away(error)
        self._consume(False)
        self._snapshots.doubt()
        self._due_at = self._store_away_until = time.monotonic() + _STORE_RETRY
        held = [request for node in self._state.nodes.values() for request in node.requests]
        self._reception.take_back(held)
        self._state.forget()

    def _is_without_tokens(self) -> bool:
        """Whether the token service is away for all clouds: then nothing is consumed."""
        clouds = self._clouds.values()
        return bool(clouds) and all(cloud.tokens_away for cloud in clouds)

    def _consume(self, wanted: bool) -> None:  # noqa: FBT001 - a predicate
        if wanted is not self._is_paused:
            return
        self._is_paused = not wanted
        (self._link.resume if wanted else self._link.pause)()
