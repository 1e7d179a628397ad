"""What a line or an object says of a record of the audit. Pure."""

import json
from collections.abc import Mapping
from typing import Any

import hostlist

from ops.cli.terminal import duration, moment
from schemas.envelope import parse
from schemas.events import Transition
from schemas.jobs import JobEvent, JobTransition, job_event_from
from workers.audit.queries import Entry
from workers.audit.record import why_quarantined

RUNS = frozenset({JobTransition.STARTED.type, JobTransition.ENDED.type})
_SECOND = 1_000_000_000
COLUMNS = ("time", "what", "about", "request", "round", "why")


def row(entry: Entry) -> tuple[object, ...]:
    """A line of a list; COLUMNS names its cells."""
    return (
        moment(entry.time),
        what(entry),
        entry.subject,
        entry.request_id or entry.id,
        entry.round,
        words(entry),
    )


def what(entry: Entry) -> str:
    """The step of a request, or the kind of notice."""
    return entry.transition or entry.type.removeprefix("lamplighter.").removesuffix(".v1")


def words(entry: Entry) -> str | None:
    """The cause; for an operator's decision who made it, and why; for a job's run whose, and where."""
    if entry.quarantined:
        return why_quarantined(entry.body)
    if entry.type in RUNS:
        return words_of_run(job_event_from(parse(entry.body)))
    data = data_of(entry)
    if data.get("dry_run") and entry.transition == Transition.COMPLETED:
        return "dry run: would call " + (", ".join(map(_action, data["actions"])) or "nothing")
    said = []
    if isinstance(cause := data.get("cause"), Mapping):
        said.append(f"{cause.get('error')}: {cause.get('message')}")
    if data.get("by"):
        said.append(f"by {data['by']}")
    said += [str(data[name]) for name in ("reason", "message") if data.get(name)]
    return "; ".join(said) or None


def words_of_run(event: JobEvent) -> str:
    """Whose it is, where, and how it ended."""
    # Slurm counts in whole seconds: a run of none may have been one of almost one
    took = duration(max(event.time - (event.started_at or 0), _SECOND))
    ended = event.state and f"{event.state} within {took}"
    nodes: str = hostlist.collect_hostlist(event.nodes)
    return ", ".join(said for said in (ended, event.user, f"on {nodes}") if said)


def _action(action: Mapping[str, object]) -> str:
    return f"{action['action']} on {action['server_id']}"


def data_of(entry: Entry) -> Mapping[str, Any]:
    """The event's own data; empty for what could not be read."""
    if entry.quarantined:
        return {}
    data: Mapping[str, Any] = json.loads(entry.body)["data"]
    return data


def as_json(entry: Entry) -> dict[str, object]:
    """All that is known, for machines."""
    shown: dict[str, object] = {
        "seq": entry.seq,
        "time": moment(entry.time),
        "recorded_at": moment(entry.recorded_at),
        "type": entry.type,
        "transition": entry.transition,
        "subject": entry.subject,
        "request_id": entry.request_id,
        "round": entry.round,
    }
    if entry.quarantined:
        return {
            **shown,
            "problem": why_quarantined(entry.body),
            "body": entry.body.decode(errors="backslashreplace"),
        }
    return {**shown, "event": json.loads(entry.body)}
