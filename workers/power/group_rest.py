"""Groups whose cloud had no room: for a while, none of their nodes is tried."""

from dataclasses import dataclass, field

from schemas.events import Cause
from workers.clouds.errors import NO_ROOM


@dataclass(slots=True)
class GroupRest:
    """The groups that rest; times are monotonic seconds."""

    _resting: dict[str, tuple[float, Cause]] = field(default_factory=dict)

    def note(self, group: str, cause: Cause, seconds: float, now: float) -> Cause:
        """Let the group rest if the cloud had no room; the cause, with that added."""
        if cause.error not in NO_ROOM or self.refusal(group, now) is not None:
            return cause
        self._resting[group] = now + seconds, cause
        return Cause(cause.error, f"{cause.message}; group {group} rests for {seconds:g} s")

    def refusal(self, group: str, now: float) -> Cause | None:
        """Why nothing of this group may be tried now, or None."""
        until, cause = self._resting.get(group, (0.0, None))
        if cause is None or now >= until:
            return None
        left = f"not tried: group {group} rests for {until - now:.0f} s more after"
        return Cause(cause.error, f"{left}: {cause.message}")
