"""Read the first page's data from both stores and the broker. Nothing here writes.

A part that cannot be read is reported in the view; the other parts are shown.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import sqlalchemy as sa

from ops.audit.records import data_of, details, event_name
from ops.cli.errors import STORE_ERRORS, explain
from ops.cli.session import Session
from ops.console.timeout_reader import ReadTimeoutError, TimeoutReader
from ops.console.view import EventLine, SiteView, with_drift
from ops.site.spooled import spools
from ops.site.status import store_findings
from workers.audit.queries import Entry, Filter, find
from workers.broker.depths import QueueDepth, queue_depths
from workers.broker.health import prove_health
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.resync import drift_memory
from workers.resync.drift import Drift
from workers.resync.drift_memory import DriftMemory
from workers.resync.slurm_conf import ConfDifference, conf_differences
from workers.store import overview, snapshots
from workers.store.heartbeats import heartbeats
from workers.store.holds import all_holds
from workers.store.overview import NodePower
from workers.store.power_state import PowerState

_EVENTS = 14
_PROOF_SECONDS = 15.0
_POWER_DRIFTS = frozenset(
    (Drift.ORPHAN, Drift.GHOST, Drift.DEAD, Drift.UNASKED, Drift.BROKEN, Drift.AMBIGUOUS)
)
T = TypeVar("T")

# The errors of a store or broker that is away.
AWAY_ERRORS = (BrokerError, OSError, *STORE_ERRORS)


class SiteReader:
    """Reads one installation repeatedly, from one thread at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings
        self._broker = ExitStack()
        self._channel: Any = None
        self._proved_at = -_PROOF_SECONDS
        self._nodes: dict[str, NodePower] = {}
        self._snapshot_generation: int | None = None
        self._slurm_states: dict[str, str] = {}
        self._slurm_conf: tuple[ConfDifference, ...] = ()
        self._state = TimeoutReader("state store", self._read_state)
        self._queues = TimeoutReader("broker", self._read_queues)
        self._spools = TimeoutReader("spool", lambda: spools(self._settings.hook))
        self._events = TimeoutReader("audit store", self._read_events)

    def read(self) -> SiteView:
        """Read the present view."""
        problems: list[str] = []
        state = _try(problems, self._state.read)
        queues = _try(problems, self._queues.read)
        events = _try(problems, self._events.read)
        waiting = _try(problems, self._spools.read) or ()
        if state is None:
            # the nodes of the last view: open pages keep their lamps
            state = {"groups": _groups(self._settings, self._nodes, {}), "store_away": True}
        return SiteView(
            taken_at=time.time_ns(),
            queues=queues,
            events=events,
            spools=tuple(waiting),
            problems=tuple(problems),
            **state,
        )

    def close(self) -> None:
        """Close the connection to the broker."""
        if not self._queues.pending:
            with suppress(*AWAY_ERRORS):
                self._broker.close()

    def _read_state(self) -> dict[str, Any]:
        cluster = self._settings.cluster
        with self._session.reading("state") as connection:
            known = drift_memory.recall(connection, cluster)
            drifts = node_drifts(known)
            self._nodes = overview.node_powers(connection, cluster)
            ends = overview.refresh_token_expiries(connection)
            return {
                "groups": _groups(self._settings, self._nodes, drifts),
                **self._read_snapshot(connection),
                "in_store": tuple(store_findings(connection, self._settings, self._nodes)),
                "drifts": len(known),
                "node_drifts": drifts,
                "open": tuple(overview.open_requests(connection, cluster)),
                "logins": {name: ends.get(name) for name in self._settings.refreshed_clouds},
                "held": frozenset(all_holds(connection, cluster)),
                "workers": tuple(heartbeats(connection, cluster)),
            }

    def _read_snapshot(self, connection: sa.Connection) -> dict[str, Any]:
        """Read the newest snapshot only if it is new: it is large and arrives once a minute."""
        received = snapshots.snapshot_age(connection, self._settings.cluster)
        generation = None if received is None else received.generation
        if generation != self._snapshot_generation:
            newest = snapshots.newest(connection, self._settings.cluster)
            self._slurm_states = {node.node: node.state for node in newest.nodes} if newest else {}
            found = conf_differences(self._settings, newest) if newest else []
            self._slurm_conf = tuple(found)
            self._snapshot_generation = generation
        return {"slurm_states": self._slurm_states, "slurm_conf": self._slurm_conf}

    def _read_queues(self) -> tuple[QueueDepth, ...]:
        """Read the queues' depths over one connection, until it fails."""
        if self._channel is None:
            self._channel = self._broker.enter_context(self._session.channel())
        try:
            depths = queue_depths(self._channel)
            now = time.monotonic()
            # without a leader, a queue has 0 messages and 0 consumers
            if now - self._proved_at > _PROOF_SECONDS:
                prove_health(self._session.broker, depths)
                self._proved_at = now
                depths = queue_depths(self._channel)
        except AWAY_ERRORS:
            self._channel = None
            self._broker.close()
            raise
        return tuple(depths)

    def _read_events(self) -> tuple[EventLine, ...]:
        with self._session.reading("audit") as connection:
            return tuple(map(event_line, reversed(find(connection, Filter(limit=_EVENTS)))))


def _try(problems: list[str], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except ReadTimeoutError as error:
        problems.append(str(error))
    except AWAY_ERRORS as error:
        problems.append(describe_away(error))
    return None


def describe_away(error: Exception) -> str:
    """Return what to tell a visitor about one of AWAY_ERRORS: nothing that `explain` does not know."""
    explained = explain(error)
    return explained[0] if explained else type(error).__name__


def node_drifts(known: Mapping[str, DriftMemory]) -> dict[str, str]:
    """Return, by node, how its power has drifted from what Slurm wants."""
    return {name: str(one.drift) for name, one in known.items() if one.drift in _POWER_DRIFTS}


def _groups(
    settings: Settings, known: dict[str, NodePower], drifts: dict[str, str]
) -> dict[str, tuple[NodePower, ...]]:
    groups: dict[str, list[NodePower]] = {name: [] for name in settings.groups}
    for name, group in settings.nodes.items():
        node = known.get(name) or NodePower(name, PowerState.OFF, None, None, None)
        groups[group].append(with_drift(node, drifts.get(name)))
    forgotten = sorted(set(known) - set(settings.nodes))
    if forgotten:
        groups[""] = [known[name] for name in forgotten]
    return {name: tuple(nodes) for name, nodes in groups.items()}


def event_line(entry: Entry) -> EventLine:
    """Return a record of the audit as one line."""
    data = data_of(entry) if entry.transition else {}
    parts = (data.get("kind"), details(entry), data.get("address"))
    return EventLine(
        time=entry.time,
        event=event_name(entry),
        subject=entry.subject,
        request_id=entry.request_id,
        details=", ".join(str(part) for part in parts if part) or None,
    )
