"""The conditions that need an operator, and the page to go to. Pure."""

from dataclasses import dataclass

from ops.console.view import SiteView
from ops.site import findings
from ops.site.findings import Severity
from ops.site.kinds import Kind

_PAGES = {Kind.DEAD_LETTERS: "/dead-letters", Kind.DRIFT: "/attention"}


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that needs an operator, and the page to go to, if any."""

    words: str
    page: str | None = None


def alerts(view: SiteView) -> list[Alert]:
    """What `lamplighter status` calls wrong or away, the most severe first."""
    found = [
        *findings.unavailable(view.problems),
        *findings.of_queues(view.queues or ()),
        *findings.of_spools(view.spools),
        *view.in_store,
        *findings.of_conf(view.slurm_conf),
    ]
    bad = (one for one in findings.ordered(found) if one.severity is not Severity.NOTE)
    return [Alert(one.text, _PAGES.get(one.kind)) for one in bad]
