"""The pages of one node, one request and one job, and the lists of events, usage and conditions. Read only.

Each page is the name of a template and its values.
"""

import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import click

from ops.audit.job_history import job_history
from ops.audit.job_start import job_start
from ops.audit.job_wait import job_wait
from ops.audit.request_history import request_history
from ops.cli.options import hostlist, job_id, when
from ops.cli.session import Session
from ops.console.attention import NodeConditions
from ops.console.lamps import lamp
from ops.console.reader import event_line, node_drifts
from ops.console.view import SiteView, with_drift
from ops.nodes.node_state import node_statuses, recent_requests
from ops.report.page import report_values
from ops.report.question import BY
from ops.report.report import make_report
from schemas.events import Transition
from schemas.jobs import JobTransition
from workers.audit.queries import Filter, find, request_records, waiting_jobs
from workers.resync import drift_memory
from workers.slurm import node_memory
from workers.store import overview, snapshots
from workers.store.holds import all_holds
from workers.store.overview import NodePower
from workers.store.power_state import PowerState

Page: TypeAlias = tuple[str, dict[str, Any]]
_LIMIT = 300
_NS = 1_000_000_000
_SHOWN_REQUESTS = 20
_SHOWN_NODES = 100


class Pages:
    """The pages that only read."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def node(self, name: str, _query: Mapping[str, str]) -> Page:
        """A node and its latest requests; LookupError if the node does not exist."""
        settings = self._session.settings
        cluster = settings.cluster
        with self._session.reading("state") as connection:
            statuses = node_statuses(connection, settings)
            status = next((one for one in statuses if one.node == name), None)
            if status is None:
                raise LookupError("This node does not exist.")
            power = overview.node_powers(connection, cluster).get(name)
            requests = recent_requests(connection, cluster, name, _SHOWN_REQUESTS)
            drifts = node_drifts(drift_memory.recall(connection, cluster))
            received = snapshots.snapshot_age(connection, cluster)
            newest = snapshots.newest(connection, cluster) if received else None
        node = with_drift(
            power or NodePower(name, PowerState.OFF, None, None, None), drifts.get(name)
        )
        slurm = (one for one in (newest.nodes if newest else ()) if one.node == name)
        return "node.html", {
            "status": status,
            "lamp": lamp(SiteView(0, node_drifts=drifts), node),
            "slurm": next(slurm, None),
            "age": round(received.age * _NS) if received else None,
            "requests": requests,
        }

    def request(self, request_id: str, _query: Mapping[str, str]) -> Page:
        """A request's stages and timeline; LookupError if the audit does not hold the request."""
        with self._session.reading("audit") as connection:
            # PostgreSQL refuses a text with a NUL
            entries = request_records(connection, request_id) if request_id.isprintable() else []
            if not entries:
                raise LookupError("The audit holds no such request yet.")
            history = request_history(entries, job_start(connection, entries))
            jobs = waiting_jobs(connection, request_id)
        stages = history.stages(time.time_ns())
        begin = min(stage.begin for stage in stages)
        return "request.html", {
            "request_id": request_id,
            "node": history.node,
            "jobs": jobs,
            "stages": stages,
            "begin": begin,
            "span": max(1, max(stage.end for stage in stages) - begin),
            "rounds": history.rounds,
            "steps": history.timeline,
        }

    def job(self, job: str, _query: Mapping[str, str]) -> Page:
        """What the audit knows of a job; LookupError if it knows nothing."""
        try:
            number = job_id(job)
        except click.BadParameter as error:
            raise LookupError(error.message) from None
        with self._session.reading("audit") as connection:
            history = job_history(connection, number)
        if not history.entries:
            raise LookupError("The audit holds nothing about this job.")
        now = time.time_ns()
        started = history.last(JobTransition.STARTED)
        ended = history.last(JobTransition.ENDED, JobTransition.FINISHED, JobTransition.FAILED)
        if started and ended and ended.time < started.time:
            ended = None  # that of an earlier run
        last = started or ended
        until = last.time if last else now
        # a requeue sets the submission again
        submitted = last.submitted_at if last else history.submitted_at
        wait = job_wait(history.requests, history.events, now)
        return "job.html", {
            "job": history,
            "now": now,
            "started": started,
            "ended": ended,
            "wait": wait,
            "waited": wait.length if wait else until - (submitted or until),
            "requests": sorted(history.requests, key=lambda one: -one.total(now))[:_SHOWN_NODES],
            "events": [event_line(entry) for entry in history.entries[-_LIMIT:]],
        }

    def attention(self, _query: Mapping[str, str]) -> Page:
        """The nodes that are on hold, out of service, or not as Slurm wants."""
        settings, cluster = self._session.settings, self._session.settings.cluster
        with self._session.reading("state") as connection:
            taken = snapshots.newest(connection, cluster)
            found = NodeConditions(
                time.time_ns(),
                all_holds(connection, cluster),
                taken.nodes if taken else (),
                {memory.node: memory for memory in node_memory.returning(connection, cluster)},
                drift_memory.recall(connection, cluster),
            )
        return "attention.html", {
            "sections": found.sections(settings.nodes),
            "known": settings.nodes,
            "limit": _SHOWN_NODES,
        }

    def events(self, query: Mapping[str, str]) -> Page:
        """The latest events that match."""
        fields = {name: query.get(name, "").strip() for name in ("node", "job", "since", "event")}
        problem, events = None, []
        try:
            wanted = _filter(fields)
        except click.BadParameter as error:
            problem = error.message
        else:
            with self._session.reading("audit") as connection:
                events = [event_line(entry) for entry in reversed(find(connection, wanted))]
        return "events.html", {
            "fields": fields,
            "problem": problem,
            "events": events,
            "limit": _LIMIT,
            "TRANSITIONS": [str(transition) for transition in Transition],
        }

    def report(self, query: Mapping[str, str]) -> Page:
        """The usage report; by default of the last week, by group."""
        fields = {name: query.get(name, "").strip() for name in ("from", "to", "by")}
        by = fields["by"] if fields["by"] in BY else BY[0]
        shown: dict[str, Any] = {
            "fields": fields,
            "by": by,
            "BY": BY,
            "problem": None,
            "report": None,
        }
        try:
            begin, end = when(fields["from"] or "7d"), when(fields["to"] or "0s")
        except click.BadParameter as error:
            return "report.html", {**shown, "problem": error.message}
        if begin >= min(end, time.time_ns()):
            problem = "From must be before to, and in the past."
            return "report.html", {**shown, "problem": problem}
        return "report.html", {**shown, **report_values(make_report(self._session, begin, end, by))}


def _filter(fields: Mapping[str, str]) -> Filter:
    """Return the filter of the form's fields; click.BadParameter if a field is invalid."""
    if fields["event"] and fields["event"] not in set(Transition):
        raise click.BadParameter("There is no such event.")
    return Filter(
        nodes=hostlist(fields["node"]) if fields["node"] else None,
        job=job_id(fields["job"]) if fields["job"] else None,
        since=when(fields["since"]) if fields["since"] else None,
        transitions=(fields["event"],) if fields["event"] else None,
        limit=_LIMIT,
    )
