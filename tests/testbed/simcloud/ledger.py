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

    def forget(self, server_id: str) -> None:
        self._intervals.pop(server_id, None)

    def intervals(self, server_id: str) -> list[Interval]:
        return self._intervals.get(server_id, [])
