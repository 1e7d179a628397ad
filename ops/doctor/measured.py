"""Compares timeouts with the boots and stops that the audit log has recorded."""

import time
from collections.abc import Iterator, Mapping, Sequence

from ops.cli.errors import STORE_ERRORS
from ops.cli.session import Session
from ops.site import kinds
from ops.site.findings import Finding, wrong
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import Transition, event_from
from workers.audit.queries import Filter, latest_first
from workers.config.settings import Settings

_DAYS_NS = 30 * 86_400 * 10**9
_NS = 10**9
_LATEST = 500
# With fewer, one odd boot would count too much.
_FEWEST = 5
# The share of requests that must end within this part of the timeout.
_SHARE, _PART = 0.95, 0.8


def of_measured(session: Session, settings: Settings) -> Iterator[Finding]:
    """Findings from the audit log; none if it does not answer, which other findings say."""
    wanted = Filter(
        since=time.time_ns() - _DAYS_NS, transitions=(str(Transition.COMPLETED),), limit=_LATEST
    )
    seconds: dict[Kind, list[float]] = {}
    try:
        with session.reading("audit") as connection:
            for entry in latest_first(connection, wanted):
                event = event_from(parse(entry.body))
                seconds.setdefault(event.kind, []).append((event.time - event.generation) / _NS)
    except (MalformedMessageError, *STORE_ERRORS):
        return
    yield from of_times(seconds, settings)


def of_times(seconds: Mapping[Kind, Sequence[float]], settings: Settings) -> Iterator[Finding]:
    """Timeouts that are too short for what was measured, by the kind of request. Pure."""
    for kind, parameter, timeout in (
        (Kind.RESUME, "ResumeTimeout", settings.slurm.resume_timeout),
        (Kind.SUSPEND, "SuspendTimeout", settings.slurm.suspend_timeout),
    ):
        times = sorted(seconds.get(kind, ()))
        if len(times) < _FEWEST:
            continue
        most = times[min(len(times) - 1, int(_SHARE * len(times)))]
        if most > _PART * timeout:
            words = (
                f"{most:.0f} s from the {kind} request to its end (95 % of {len(times)} requests)"
            )
            longer = int(2 * most)
            yield wrong(
                kinds.Kind.TIMEOUT,
                f"{parameter} is {timeout} s, but it takes up to {words}",
                f"{parameter}={longer} in slurm.conf, and {kind}_timeout = {longer} in [slurm]",
            )
