"""The conditions that need an operator, and the page to go to. Pure."""

from dataclasses import dataclass

from ops.console.view import SiteView
from ops.site import findings
from ops.site.findings import Severity
from ops.site.kinds import Kind
from workers.store.power_state import PowerState

_PAGES = {Kind.DEAD_LETTERS: "/dead-letters", Kind.DRIFT: "/attention"}


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that needs an operator, and the page to go to, if any."""

    words: str
    page: str | None = None


def alerts(view: SiteView) -> list[Alert]:
    """Return the alerts, the most severe first."""
    ends = {one.cloud: one.expires_at for one in view.logins if one.expires_at is not None}
    failed = [node.node for node in view.nodes if node.power is PowerState.FAILED]
    spools = findings.of_spools(view.spools)
    found = [
        *findings.unavailable(view.problems),
        *findings.of_queues(view.queues or ()),
        *(one for one in spools if one.severity is not Severity.NOTE),
        *findings.of_workers(view.workers, view.taken_at),
        *findings.of_snapshot(stale=view.snapshot_stale),
        *findings.of_conf(view.slurm_conf),
        *findings.of_logins(ends, view.taken_at),
        *findings.of_drifts(view.drift_counts),
        *findings.of_failed_nodes([] if view.store_away else failed),
    ]
    return [Alert(one.text, _PAGES.get(one.kind)) for one in findings.ordered(found)]
