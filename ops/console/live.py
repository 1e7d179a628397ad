"""The site, looked at once a second by one thread for all who watch; when nobody does, not at all.

Each look that finds a change gets a number and a message. A page knows the number it was made at
and asks for what came later; who is too far behind is told to load the page anew.
"""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from ops.console.view import SiteView, changed_lamps, same_nodes

_EVERY = 1.0
# A page that finds an old look waits so long for a new one, then shows the old.
_PATIENCE = 2.0
_KEPT = 60
_HEARTBEAT = 15.0
# Browsers allow few streams a host, and each costs a connection here.
MOST_WATCHERS = 200
_RELOAD = "reload"


@dataclass(frozen=True, slots=True)
class Change:
    """A numbered message; its data is JSON, or None where the page must be loaded anew."""

    number: int
    data: str | None


class Live:
    """The latest view, and the changes that led to it.

    Args:
        look: reads the site; may take its time.
        fragments: the parts of a page that a view changes, as HTML by id.
    """

    def __init__(
        self, look: Callable[[], SiteView], fragments: Callable[[SiteView], dict[str, str]]
    ) -> None:
        self._look = look
        self._fragments = fragments
        self._view = look()
        self._parts = fragments(self._view)
        # no number of an earlier process comes again, so that its pages are loaded anew
        self._number = time.time_ns() // 1_000_000
        self._changes: deque[Change] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self._looked = threading.Condition(self._lock)
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._thread = threading.Thread(target=self._run, name="console-look", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and let all watchers go."""
        self._stop.set()
        self._wanted.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def freshen(self) -> None:
        """Have the latest view be one of the last second, if the site answers in time."""
        with self._looked:
            seen = self._looked_at
            if time.monotonic() - seen < _EVERY:
                return
            self._wanted.set()
            self._looked.wait_for(lambda: self._looked_at > seen, _PATIENCE)

    @property
    def now(self) -> tuple[int, SiteView]:
        """The latest view and its number."""
        with self._lock:
            return self._number, self._view

    async def watch(self, since: int) -> AsyncIterator[str]:
        """Server-sent events (HTML Living Standard, 9.2) of all changes after number `since`."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        waiter = (loop, woken)
        with self._lock:
            if len(self._waiters) >= MOST_WATCHERS:
                yield "retry: 30000\n\n"
                return
            self._waiters.add(waiter)
        try:
            yield "retry: 2000\n\n"
            while not self._stop.is_set():
                woken.clear()
                for change in self._after(since):
                    since = change.number
                    event = f"event: {_RELOAD}\n" if change.data is None else ""
                    yield f"id: {change.number}\n{event}data: {change.data or ''}\n\n"
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), _HEARTBEAT)
                    continue
                yield ": still here\n\n"
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _after(self, since: int) -> list[Change]:
        with self._lock:
            missed = [change for change in self._changes if change.number > since]
            complete = since == self._number or (missed and missed[0].number == since + 1)
            return missed if complete else [Change(self._number, None)]

    def _run(self) -> None:
        while not self._stop.is_set():
            wanted = self._wanted.wait(_EVERY)
            self._wanted.clear()
            if not wanted and not self._waiters:
                continue
            try:
                self.turn()
            except Exception:  # noqa: BLE001 - one bad look must not be the last
                structlog.get_logger().exception("console_look_failed")

    def turn(self) -> None:
        """Look once."""
        view = self._look()
        parts = self._fragments(view)
        data = self._difference(view, parts)
        with self._lock:
            self._view, self._parts = view, parts
            self._looked_at = time.monotonic()
            self._looked.notify_all()
            if data == "":
                return
            self._number += 1
            self._changes.append(Change(self._number, data))
        self._wake()

    def _difference(self, view: SiteView, parts: dict[str, str]) -> str | None:
        """The message; "" where nothing has changed, None where the page has other lamps now."""
        if not same_nodes(self._view, view):
            return None
        lamps = changed_lamps(self._view, view)
        fresh = {name: html for name, html in parts.items() if html != self._parts.get(name)}
        return json.dumps({"lamps": lamps, "parts": fresh}) if lamps or fresh else ""

    def _wake(self) -> None:
        with self._lock:
            waiters = list(self._waiters)
        for loop, woken in waiters:
            with suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(woken.set)
