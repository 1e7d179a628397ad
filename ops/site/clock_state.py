"""What is known of the hooks' clock, and what stands in the way of a reset."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.cli.session import Session
from ops.dead_letters.queue import MOST, dead_letter_queue
from producers import clock, spool
from workers.broker.depths import QueueDepth
from workers.broker.health import WORKERS
from workers.broker.topology import (
    FEEDBACK_QUEUE,
    RESUME_QUEUE,
    RETRY_TIERS,
    SNAPSHOT_QUEUE,
    SUSPEND_QUEUE,
)
from workers.store import generations

_NS = 1_000_000_000
# The time between two programs that look at the clock.
_NOTICEABLE = _NS
_IN_FLIGHT = frozenset({RESUME_QUEUE, SUSPEND_QUEUE, *RETRY_TIERS})
# The workers of these hold requests, snapshots and events that the queues no longer show.
_TAKEN_FROM = (RESUME_QUEUE, SUSPEND_QUEUE, SNAPSHOT_QUEUE, FEEDBACK_QUEUE)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What changes from one moment to the next.

    Attributes:
        spooled: calls in the spool.
        queued: messages in work queues and retry tiers, by queue; empty queues are omitted.
        working: the workers that consume.
    """

    spooled: int = 0
    queued: Mapping[str, int] = field(default_factory=dict)
    working: tuple[str, ...] = ()

    def obstacles(self) -> list[str]:
        """Why a generation from the future may still be on its way, and what to do."""
        found = []
        if self.spooled:
            found.append(f"{self.spooled} calls are in the spool; run: lamplighter relay --once")
        for queue, count in self.queued.items():
            found.append(
                f"{count} requests are in {queue}; let the power worker handle them, and release "
                "nodes that are on hold"
            )
        if self.working:
            roles = ", ".join(self.working)
            found.append(f"workers are running: {roles}; stop them until the reset is done")
        return found


@dataclass(frozen=True, slots=True)
class ClockState:
    """The clock, the store, and everything that has a generation; times in ns since the epoch.

    Attributes:
        now: this host's time.
        last: the last generation of the file; 0 if there is none.
        stored: the highest generation in the store; 0 if there is none.
        open: requests in progress with a generation from the future.
        letters: dead letters with a generation from the future.
        unread: whether there are more dead letters than can be read.
    """

    now: int
    last: int
    stored: int
    traffic: Traffic
    open: int
    letters: int
    unread: bool = False

    @property
    def highest(self) -> int:
        """The highest generation of the file and of the store."""
        return max(self.last, self.stored)

    @property
    def is_ahead(self) -> bool:
        """Whether generations lie in the future, by more than the time since they were stamped."""
        return self.highest > self.now + _NOTICEABLE

    def obstacles(self) -> list[str]:
        """Why the clock cannot be reset now, and what to do; empty if it can be."""
        found = self.traffic.obstacles()
        if self.open:
            found.append(
                f"{self.open} requests are in progress; let the power worker end them first"
            )
        if self.letters:
            found.append(
                f"{self.letters} dead letters have a generation from the future; run: lamplighter "
                "dead-letters discard, or replay them first"
            )
        if self.unread:
            found.append(f"there are more than {MOST} dead letters; discard or replay some first")
        return found

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "generation": self.last or None,
            "seconds_ahead": (self.last - self.now) / _NS if self.last else None,
            "stored_generation": self.stored or None,
            "stored_seconds_ahead": (self.stored - self.now) / _NS if self.stored else None,
            "is_ahead": self.is_ahead,
            "spooled": self.traffic.spooled,
            "queued": dict(self.traffic.queued),
            "working": self.traffic.working,
            "open_from_the_future": self.open,
            "dead_letters_from_the_future": self.letters,
            "obstacles": self.obstacles(),
        }


def observe(session: Session) -> ClockState:
    """The state now.

    Raises:
        ClockError, SpoolError: the clock's folder or the spool cannot be read.
        BrokerError, StoreMissingError, sqlalchemy.exc.OperationalError: the broker or the store is
            unavailable.
    """
    settings = session.settings
    last = clock.last_generation(settings.hook.state)
    traffic = observe_traffic(session, session.proven_depths())
    with dead_letter_queue(session) as queue:
        letters = queue.letters()
    with session.reading("state") as connection:
        stored = generations.highest(connection, settings.cluster)
        now = time.time_ns()
        open_ = generations.open_rounds_after(connection, settings.cluster, now)
    ahead = [one for one in letters if one.command and one.command.generation > now]
    return ClockState(now, last, stored, traffic, open_, len(ahead), len(letters) == MOST)


def observe_traffic(session: Session, depths: list[QueueDepth]) -> Traffic:
    """What is in the spool and in the queues; SpoolError if the spool cannot be read."""
    hooks = session.settings.hook
    spooled = sum(len(spool.waiting(folder)) for folder in {hooks.spool, hooks.own_spool})
    queued = {one.name: one.ready for one in depths if one.name in _IN_FLIGHT and one.ready}
    consuming = {depth.name for depth in depths if depth.consumers}
    working = dict.fromkeys(WORKERS[queue] for queue in _TAKEN_FROM if queue in consuming)
    return Traffic(spooled, queued, tuple(working))
