"""A record of the audit as a table row, a line or a JSON object. Pure."""

import json
from collections.abc import Mapping
from typing import Any

import hostlist

from ops.cli.terminal import Columns, duration, moment, short_moment
from schemas.envelope import parse
from schemas.events import Transition
from schemas.jobs import JOB_TRANSITIONS, JobEvent, JobTransition, job_event_from
from workers.audit.queries import Entry
from workers.audit.record import quarantine_reason

_RUNS = frozenset({JobTransition.STARTED, JobTransition.ENDED})
_SECOND = 1_000_000_000


def event_name(entry: Entry) -> str:
    """The transition of a request, or the type of another event in short form."""
    return entry.transition or entry.type.removeprefix("lamplighter.").removesuffix(".v1")


def details(entry: Entry) -> str | None:
    """The cause; who decided it and why; for a job's run its user and nodes."""
    if entry.quarantined:
        return quarantine_reason(entry.body)
    if entry.type in JOB_TRANSITIONS:
        event = job_event_from(parse(entry.body))
        return run_details(event) if event.transition in _RUNS else job_details(event)
    data = data_of(entry)
    if data.get("dry_run") and entry.transition == Transition.COMPLETED:
        calls = [f"{action['action']} on {action['server_id']}" for action in data["actions"]]
        return f"dry run: would call {', '.join(calls) or 'nothing'}"
    parts = []
    if isinstance(cause := data.get("cause"), Mapping):
        parts.append(f"{cause.get('error')}: {cause.get('message')}")
    if data.get("by"):
        parts.append(f"by {data['by']}")
    parts += [str(data[name]) for name in ("reason", "message") if data.get(name)]
    return "; ".join(parts) or None


def run_details(event: JobEvent) -> str:
    """How the run ended, its user and its nodes."""
    # Slurm reports whole seconds: a run of 0 s may have lasted almost a second
    took = duration(max(event.time - (event.started_at or 0), _SECOND))
    ended = event.state and f"{event.state} within {took}"
    nodes: str = hostlist.collect_hostlist(event.nodes)
    return ", ".join(part for part in (ended, event.user, f"on {nodes}") if part)


def job_details(event: JobEvent) -> str | None:
    """How the job ended or why it waits, for which nodes, and for which UWS job it runs."""
    returns = f"until {moment(event.returns_at)}" if event.returns_at is not None else None
    parts = (
        event.state,
        event.cause and str(event.cause),
        event.nodes and f"nodes {hostlist.collect_hostlist(event.nodes)}",
        returns,
        event.uws_id and f"UWS job {event.uws_id}",
    )
    return ", ".join(part for part in parts if part) or None


def data_of(entry: Entry) -> Mapping[str, Any]:
    """The event's data; empty if the message could not be parsed."""
    if entry.quarantined:
        return {}
    data: Mapping[str, Any] = json.loads(entry.body)["data"]
    return data


def words(entry: Entry) -> str:
    """What happened, to which kind of request: `resume completed`, from round 2 on with the round."""
    kind = data_of(entry).get("kind") if entry.transition else None
    again = f", round {entry.round}" if (entry.round or 1) > 1 else ""
    return f"{kind} {entry.transition}{again}" if kind else event_name(entry)


def columns(short: Mapping[str, str]) -> Columns[Entry]:
    """The columns of a table of records; `short` has what is printed for each request's id."""
    return {
        "time": lambda entry: short_moment(entry.time),
        "what": words,
        "about": lambda entry: entry.subject,
        "request": lambda entry: short.get(entry.request_id or ""),
        "why": details,
    }


def record_json(entry: Entry) -> dict[str, object]:
    """The whole record, for JSON."""
    shown: dict[str, object] = {
        "seq": entry.seq,
        "time": moment(entry.time),
        "recorded_at": moment(entry.recorded_at),
        "type": entry.type,
        "transition": entry.transition,
        "kind": data_of(entry).get("kind"),
        "subject": entry.subject,
        "request_id": entry.request_id,
        "round": entry.round,
        "sender": entry.sender,
    }
    if entry.quarantined:
        return {
            **shown,
            "problem": quarantine_reason(entry.body),
            "body": entry.body.decode(errors="backslashreplace"),
        }
    return {**shown, "event": json.loads(entry.body)}
