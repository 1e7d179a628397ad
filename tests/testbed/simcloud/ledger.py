"""How long each server was powered on: the bill, independent of what the API shows."""

import msgspec


class Interval(msgspec.Struct):
    """A period of being powered on, in seconds since the epoch; ``off`` is ``None`` while it lasts."""

    on: float
    off: float | None = None


class Ledger:
    """Powered-on intervals by server id."""

    def __init__(self) -> None:
        self._intervals: dict[str, list[Interval]] = {}
        self._endless: dict[str, list[float]] = {}

    def note(self, server_id: str, *, powered: bool, at: float) -> bool:
        """Record the server's power at the time ``at``; return whether it changed."""
        intervals = self._intervals.setdefault(server_id, [])
        running = bool(intervals) and intervals[-1].off is None
        if running == powered:
            return False
        if powered:
            intervals.append(Interval(at))
        else:
            intervals[-1].off = at
        return True

    def note_endless(self, server_id: str, *, at: float) -> None:
        """Record that powering the server off begins at the time ``at``, and never ends, or in ERROR."""
        self._endless.setdefault(server_id, []).append(at)

    def forget(self, server_id: str) -> None:
        self._intervals.pop(server_id, None)
        self._endless.pop(server_id, None)

    def intervals(self, server_id: str) -> list[Interval]:
        return self._intervals.get(server_id, [])

    def endless(self, server_id: str) -> list[float]:
        """When calls came that power the server off and never end, or in ERROR."""
        return self._endless.get(server_id, [])
