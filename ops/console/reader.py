"""Reads the site for the console. What is away is said in the view; nothing here writes."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import sqlalchemy as sa

from ops.audit.records import RUNS, what, words_of_run
from ops.cli.errors import StoreMissingError, explain
from ops.cli.session import Session
from ops.console.timeout_reader import SilentError, TimeoutReader
from ops.console.view import Line, LoginState, SiteView, astray
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import event_from, notice_from
from schemas.jobs import job_event_from
from workers.audit.queries import Entry, Filter, find
from workers.audit.record import why_quarantined
from workers.broker.depths import QueueDepth, queue_depths
from workers.config.logins import RefreshTokenSource
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.resync import drift_memory
from workers.resync.drift import Drift
from workers.store import overview, snapshots
from workers.store.heartbeats import heartbeats
from workers.store.lamps import Lamp
from workers.store.overview import NodeLamp

_EVENTS = 14
_OF_POWER = frozenset(
    (Drift.ORPHAN, Drift.GHOST, Drift.DEAD, Drift.UNASKED, Drift.BROKEN, Drift.AMBIGUOUS)
)
T = TypeVar("T")

AWAY_WORDS = (BrokerError, OSError, sa.exc.SQLAlchemyError, StoreMissingError)


class SiteReader:
    """Looks at one site again and again; from one thread at a time.

    Args:
        session: the site.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings
        self._broker = ExitStack()
        self._channel: Any = None
        self._known: dict[str, NodeLamp] = {}
        self._snapshot: int | None = None
        self._slurm: dict[str, str] = {}
        self._state = TimeoutReader("state store", self._read_state)
        self._queues = TimeoutReader("broker", self._read_queues)
        self._events = TimeoutReader("audit store", self._read_events)

    def look(self) -> SiteView:
        """The site now."""
        problems: list[str] = []
        state = _try(problems, self._state.ask)
        queues = _try(problems, self._queues.ask)
        events = _try(problems, self._events.ask)
        return SiteView(
            taken_at=time.time_ns(),
            queues=queues,
            events=None if events is None else tuple(events),
            problems=tuple(problems),
            # the same nodes as before: pages that are open keep their lamps
            **(state or {"groups": _groups(self._settings, self._known, {}), "blind": True}),
        )

    def close(self) -> None:
        """Let the broker go."""
        if not self._queues.waiting:
            with suppress(*AWAY_WORDS):
                self._broker.close()

    def _read_state(self) -> dict[str, Any]:
        cluster = self._settings.cluster
        with self._session.reading("state") as connection:
            adrift = adrift_nodes(connection, cluster)
            self._known = overview.lamps(connection, cluster)
            return {
                "groups": _groups(self._settings, self._known, adrift),
                **self._slurms(connection),
                "adrift": adrift,
                "open": tuple(overview.open_requests(connection, cluster)),
                "logins": _logins(self._settings, overview.refresh_token_ends(connection)),
                "drifts": overview.drift_counts(connection, cluster),
                "workers": tuple(heartbeats(connection, cluster)),
            }

    def _slurms(self, connection: sa.Connection) -> dict[str, Any]:
        """The newest snapshot, read only where it is another: it is large, and comes once a minute."""
        came = snapshots.received(connection, self._settings.cluster)
        generation = None if came is None else came.generation
        if generation != self._snapshot:
            newest = snapshots.newest(connection, self._settings.cluster)
            self._slurm = {one.node: one.state for one in newest.nodes} if newest else {}
            self._snapshot = generation
        wanted = self._settings.resync.enabled is not False
        stale = wanted and came is not None and came.age > self._settings.stale_after
        return {"slurm": self._slurm, "stale": stale}

    def _read_queues(self) -> tuple[QueueDepth, ...]:
        """Over one connection for as long as it holds."""
        if self._channel is None:
            self._channel = self._broker.enter_context(self._session.channel())
        try:
            return tuple(queue_depths(self._channel))
        except AWAY_WORDS:
            self._channel = None
            self._broker.close()
            raise

    def _read_events(self) -> Sequence[Line]:
        with self._session.reading("audit") as connection:
            return [line_of(entry) for entry in reversed(find(connection, Filter(limit=_EVENTS)))]


def _try(problems: list[str], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except SilentError as error:
        problems.append(str(error))
        return None
    except AWAY_WORDS as error:
        explained = explain(error)
        problems.append(explained[0] if explained else type(error).__name__)
        return None


def adrift_nodes(connection: sa.Connection, cluster: str) -> dict[str, str]:
    """Nodes whose power is not as Slurm wants it, and how."""
    found = drift_memory.recall(connection, cluster)
    return {name: str(one.drift) for name, one in found.items() if one.drift in _OF_POWER}


def _groups(
    settings: Settings, known: dict[str, NodeLamp], adrift: dict[str, str]
) -> dict[str, tuple[NodeLamp, ...]]:
    groups: dict[str, list[NodeLamp]] = {name: [] for name in settings.groups}
    for node, group in settings.nodes.items():
        lit = known.get(node) or NodeLamp(node, Lamp.OUT, None, None, None)
        groups[group].append(astray(lit, adrift.get(node)))
    forgotten = sorted(set(known) - set(settings.nodes))
    if forgotten:
        groups[""] = [known[node] for node in forgotten]
    return {name: tuple(nodes) for name, nodes in groups.items()}


def _logins(settings: Settings, ends: dict[str, int]) -> tuple[LoginState, ...]:
    return tuple(
        LoginState(name, ends.get(name))
        for name, cloud in settings.clouds.items()
        if isinstance(cloud.source, RefreshTokenSource)
    )


def line_of(entry: Entry) -> Line:
    """A record as a line of the stream."""
    return Line(
        seq=entry.seq,
        time=entry.time,
        what=what(entry),
        subject=entry.subject,
        request_id=entry.request_id,
        words=_words(entry),
    )


def _words(entry: Entry) -> str | None:
    """Why, or of what kind: the most telling words of an event."""
    if entry.quarantined:
        return why_quarantined(entry.body)
    try:
        envelope = parse(entry.body)
        if entry.type in RUNS:
            return words_of_run(job_event_from(envelope))
        if entry.transition is None:
            return notice_from(envelope).message
        event = event_from(envelope)
    except MalformedMessageError:
        return None  # of a type that a later version knows
    told = [str(event.kind)]
    if event.cause is not None:
        told.append(f"{event.cause.error}: {event.cause.message}")
    if event.by:
        told.append(f"by {event.by}")
    if event.reason:
        told.append(event.reason)
    if event.transition.terminal and event.address:
        told.append(event.address)
    return ", ".join(told)
