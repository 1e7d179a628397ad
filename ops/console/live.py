"""Keep one view of the installation for all open pages, and send them its changes.

One thread reads the view once a second while a page is open, and not at all otherwise. Each change gets
a number. A page knows the number of the view that it was made from and asks for the later changes; a
page that is too far behind must reload.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from ops.cli.terminal import json_line
from ops.console.lamps import changed_lamps
from ops.console.view import SiteView, same_nodes

_INTERVAL = 1.0
# A new page waits this long for a fresh view, then shows the last one.
_REFRESH_TIMEOUT = 2.0
_KEPT_CHANGES = 60
# Browsers allow few streams per host, and each stream holds a connection here. Users who are logged
# in find room even if everybody else's streams fill theirs.
_MAX_WATCHERS = 200
_MAX_ANONYMOUS = 150
# A stream whose session has ended ends within this time.
_RECHECK = 5.0


@dataclass(frozen=True, slots=True)
class Change:
    """A numbered change; `data` is JSON, or None if pages must reload."""

    number: int
    data: str | None


class Live:
    """The latest view, and the changes that led to it.

    `read` reads the installation, and may block; `render` renders the parts of a page that change
    with the view, as HTML by element id.
    """

    def __init__(
        self, read: Callable[[], SiteView], render: Callable[[SiteView], dict[str, str]]
    ) -> None:
        self._read = read
        self._render = render
        self._view = read()
        self._parts = render(self._view)
        # above every number of an earlier process, so that its pages reload
        self._number = time.time_ns() // 1_000_000
        self._changes: deque[Change] = deque(maxlen=_KEPT_CHANGES)
        self._lock = threading.Lock()
        self._read_at = time.monotonic()
        self._updated = threading.Condition(self._lock)
        self._wanted = threading.Event()
        self._stop = threading.Event()
        # with whether the user is known, oldest first
        self._waiters: dict[tuple[asyncio.AbstractEventLoop, asyncio.Event], bool] = {}
        self._thread = threading.Thread(target=self._run, name="console-live", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and end all streams."""
        self._stop.set()
        self._wanted.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(_REFRESH_TIMEOUT)

    def refresh(self) -> None:
        """Wait until the view is less than a second old, or until the timeout."""
        with self._updated:
            seen = self._read_at
            if time.monotonic() - seen < _INTERVAL:
                return
            self._wanted.set()
            self._updated.wait_for(lambda: self._read_at > seen, _REFRESH_TIMEOUT)

    @property
    def now(self) -> tuple[int, SiteView]:
        """The latest view and its number."""
        with self._lock:
            return self._number, self._view

    async def watch(
        self, since: int, *, known: bool = False, allowed: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[str]:
        """Stream all changes after number `since` as server-sent events (HTML Living Standard, 9.2).

        `since` is the number of the view that the page has; `known`: whether the user is. Once
        `allowed` says that the user may no longer read, the stream ends.
        """
        woken = asyncio.Event()
        waiter = asyncio.get_running_loop(), woken
        if not self._admit(waiter, known=known):
            yield "retry: 30000\n\n"
            return
        try:
            yield "retry: 2000\n\n"
            while not self._stop.is_set() and waiter in self._waiters and allowed():
                woken.clear()
                for change in self._after(since):
                    since = change.number
                    event = "event: reload\n" if change.data is None else ""
                    yield f"id: {change.number}\n{event}data: {change.data or ''}\n\n"
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), _RECHECK)
                    continue
                yield ": keep-alive\n\n"
        finally:
            with self._lock:
                self._waiters.pop(waiter, None)

    def _admit(
        self, waiter: tuple[asyncio.AbstractEventLoop, asyncio.Event], *, known: bool
    ) -> bool:
        """Add a stream; a user who is known takes the place of the oldest who is not, if need be."""
        with self._lock:
            anonymous = [one for one, named in self._waiters.items() if not named]
            if not known and len(anonymous) >= _MAX_ANONYMOUS:
                return False
            if len(self._waiters) >= _MAX_WATCHERS:
                if not known or not anonymous:
                    return False
                del self._waiters[anonymous[0]]
            self._waiters[waiter] = known
            return True

    def _after(self, since: int) -> list[Change]:
        with self._lock:
            missed = [change for change in self._changes if change.number > since]
            complete = since == self._number or (missed and missed[0].number == since + 1)
            return missed if complete else [Change(self._number, None)]

    def _run(self) -> None:
        while not self._stop.is_set():
            wanted = self._wanted.wait(_INTERVAL)
            self._wanted.clear()
            if not wanted and not self._waiters:
                continue
            try:
                self.update()
            except Exception:  # noqa: BLE001 - the thread survives one failed update
                structlog.get_logger().exception("console_update_failed")

    def update(self) -> None:
        """Read the view once, and publish what changed."""
        view = self._read()
        parts = self._render(view)
        data = self._difference(view, parts)
        with self._lock:
            self._view, self._parts = view, parts
            self._read_at = time.monotonic()
            self._updated.notify_all()
            if data == "":
                return
            self._number += 1
            self._changes.append(Change(self._number, data))
        self._wake()

    def _difference(self, view: SiteView, parts: dict[str, str]) -> str | None:
        """Return the change as JSON; "" if nothing changed, None if the page has other nodes now."""
        if not same_nodes(self._view, view):
            return None
        lamps = changed_lamps(self._view, view)
        changed = {name: html for name, html in parts.items() if html != self._parts.get(name)}
        return json_line({"lamps": lamps, "parts": changed}) if lamps or changed else ""

    def _wake(self) -> None:
        with self._lock:
            waiters = list(self._waiters)
        for loop, woken in waiters:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(woken.set)
