"""Pages about one thing, and lists: each reads what it shows, and answers a template and its values."""

import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import click

from ops.cli.options import hostlist, when
from ops.cli.session import Session
from ops.console.reader import adrift_nodes, line_of
from ops.console.view import SiteView, astray
from ops.history.job_start import job_start
from ops.history.request import request_history
from ops.nodes.node_state import last_asked, node_statuses
from ops.report.page import values
from ops.report.question import BY
from ops.report.report import make
from schemas.events import Transition
from workers.audit.queries import Filter, find, story
from workers.store import overview, snapshots
from workers.store.lamps import Lamp
from workers.store.overview import NodeLamp

Page: TypeAlias = tuple[str, dict[str, Any]]
_LIMIT = 300
_NS = 1_000_000_000
_ASKED = 20
_MOST_JOB = 2**63 - 1


class Pages:
    """What is only read.

    Args:
        session: the site.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def node(self, name: str, _said: Mapping[str, str]) -> Page:
        """A node, and what was asked of it lately.

        Raises:
            LookupError: there is no such node.
        """
        settings = self._session.settings
        with self._session.reading("state") as connection:
            standing = next(
                (s for s in node_statuses(connection, settings) if s.node == name), None
            )
            lit = overview.lamps(connection, settings.cluster).get(name)
            asked = last_asked(connection, settings.cluster, name, _ASKED)
            adrift = adrift_nodes(connection, settings.cluster)
            came = snapshots.received(connection, settings.cluster)
            newest = snapshots.newest(connection, settings.cluster) if came else None
        if standing is None:
            raise LookupError("There is no such node.")
        lit = lit or NodeLamp(name, Lamp.OUT, None, None, None)
        return "node.html", {
            "standing": standing,
            "lit": astray(lit, adrift.get(name)),
            "told": SiteView(0, adrift=adrift),
            "slurm": next((one for one in newest.nodes if one.node == name), None)
            if newest
            else None,
            "age": round(came.age * _NS) if came else None,
            "asked": asked,
        }

    def request(self, request_id: str, _said: Mapping[str, str]) -> Page:
        """A request's way and story.

        Raises:
            LookupError: the audit knows none with that id.
        """
        with self._session.reading("audit") as connection:
            entries = story(connection, request_id)
            if not entries:
                raise LookupError("The audit knows no such request yet.")
            history = request_history(entries, job_start(connection, entries))
        stages = history.stages(time.time_ns())
        begin = min(stage.begin for stage in stages)
        return "request.html", {
            "request_id": request_id,
            "node": history.node,
            "stages": stages,
            "begin": begin,
            "span": max(1, max(stage.end for stage in stages) - begin),
            "rounds": history.rounds,
            "steps": history.timeline,
        }

    def events(self, said: Mapping[str, str]) -> Page:
        """The latest events that match."""
        asked = {name: said.get(name, "").strip() for name in ("node", "job", "since", "what")}
        problem, events = None, []
        try:
            wanted = _filter(asked)
        except click.BadParameter as error:
            problem = error.message
        else:
            with self._session.reading("audit") as connection:
                events = [line_of(entry) for entry in reversed(find(connection, wanted))]
        return "events.html", {
            "asked": asked,
            "problem": problem,
            "events": events,
            "limit": _LIMIT,
            "TRANSITIONS": [str(transition) for transition in Transition],
        }

    def report(self, said: Mapping[str, str]) -> Page:
        """The usage report; of the last week, by group, unless something else is asked."""
        asked = {name: said.get(name, "").strip() for name in ("from", "to", "by")}
        by = asked["by"] if asked["by"] in BY else BY[0]
        shown: dict[str, Any] = {
            "asked": asked,
            "by": by,
            "BY": BY,
            "problem": None,
            "report": None,
        }
        try:
            begin, end = when(asked["from"] or "7d"), when(asked["to"] or "0s")
        except click.BadParameter as error:
            return "report.html", {**shown, "problem": error.message}
        if begin >= end:
            return "report.html", {**shown, "problem": "From must be before to."}
        return "report.html", {**shown, **values(make(self._session, begin, end, by))}


def _filter(asked: Mapping[str, str]) -> Filter:
    """What is asked for.

    Raises:
        click.BadParameter: a field cannot be read; in words.
    """
    job = asked["job"]
    if job and not (job.isascii() and job.isdecimal() and int(job) <= _MOST_JOB):
        raise click.BadParameter("A job is a number.")
    if asked["what"] and asked["what"] not in set(Transition):
        raise click.BadParameter("There is no such event.")
    return Filter(
        nodes=hostlist(asked["node"]) if asked["node"] else None,
        job=int(job) if job else None,
        since=when(asked["since"]) if asked["since"] else None,
        transitions=(asked["what"],) if asked["what"] else None,
        limit=_LIMIT,
    )
