"""Whether a cloud is well, learned from its answers. Pure.

An outage must cost no request an attempt, so it is told from one sick server: when a call fails, a
listing is made at once. If that fails too the cloud is away. If it succeeds but the calls of several
nodes in a row have failed, the cloud's actions are away: then one call at a time tries it.
"""

from dataclasses import dataclass, replace

from schemas.events import Cause
from workers.broker.topology import RETRY_TIERS

_NODES_IN_A_ROW = 3
_LONGEST_PROBE = 15.0
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Health:
    """A cloud's health.

    Attributes:
        away: why it is away, or None.
        since: monotonic seconds when the trouble began.
        probes: listings failed in a row.
        failed: the nodes whose calls failed since one last succeeded.
    """

    away: Cause | None = None
    since: float | None = None
    probes: int = 0
    failed: frozenset[str] = frozenset()

    @property
    def well(self) -> bool:
        """Whether calls may be made freely."""
        return self.away is None and not self.actions_away

    @property
    def actions_away(self) -> bool:
        """Whether it lists but does not act."""
        return len(self.failed) >= _NODES_IN_A_ROW

    @property
    def probe_in(self) -> float:
        """Seconds until the next listing of a cloud that is away."""
        return float(min(2 ** min(self.probes, 10) / 2, _LONGEST_PROBE))

    def listing_failed(self, cause: Cause, now: float) -> "Health":
        """After a listing that failed."""
        return replace(self, away=cause, since=self.since or now, probes=self.probes + 1)

    def listing_succeeded(self) -> "Health":
        """After a listing that came."""
        return replace(self, away=None, probes=0, since=self.since if self.actions_away else None)

    def call_failed(self, node: str, now: float) -> "Health":
        """After a call that the cloud could not answer."""
        return replace(self, failed=self.failed | {node}, since=self.since or now)

    def call_answered(self) -> "Health":
        """After a call that the cloud answered, whatever it said."""
        return replace(self, failed=frozenset(), since=self.since if self.away else None)

    def rest(self, now: float) -> str:
        """The retry tier where requests rest while it is not well: longer as the trouble lasts."""
        lasted = 0.0 if self.since is None else now - self.since
        tiers = list(RETRY_TIERS)
        return tiers[0] if lasted < _MINUTE else tiers[1] if lasted < 10 * _MINUTE else tiers[2]
