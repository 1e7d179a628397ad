"""`lamplighter audit`: what happened to which node, and the whole story of a request."""

import json

import click

from ops.params import hostlist, when
from ops.session import Session, pass_session
from ops.story import timeline
from ops.terminal import duration, moment, print_json, print_line, print_table
from schemas.events import Happening
from workers.audit.queries import Entry, Filter, find, story
from workers.audit.record import why_quarantined

_HAPPENINGS = [str(happening) for happening in Happening]


@click.group
def audit() -> None:
    """The audit log: every event, once."""


@audit.command("list")
@click.option("--node", "nodes", type=hostlist, help="Nodes, as a hostlist: node[1-3].")
@click.option("--job", type=int, help="About this job, and the requests it waited for.")
@click.option("--uws", help="Of the jobs that ran for this UWS job.")
@click.option("--since", type=when, help="A time, or how long ago: 2h.")
@click.option("--until", type=when, help="Likewise; exclusive.")
@click.option("--outcome", multiple=True, type=click.Choice(_HAPPENINGS), help="May be repeated.")
@click.option("--request", "request_id", help="Only this request's.")
@click.option("--limit", type=click.IntRange(min=1), default=100, help="The latest so many (100).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_session
def list_(  # noqa: PLR0913 - one per option
    session: Session,
    /,
    *,
    nodes: tuple[str, ...] | None,
    job: int | None,
    uws: str | None,
    since: int | None,
    until: int | None,
    outcome: tuple[str, ...],
    request_id: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Print the latest events."""
    wanted = Filter(
        nodes=nodes,
        job=job,
        uws=uws,
        since=since,
        until=until,
        happenings=outcome or None,
        request_id=request_id,
        limit=limit,
    )
    with session.reading("audit") as connection:
        entries = find(connection, wanted)
    if as_json:
        for entry in entries:
            print_json(_as_json(entry))
        return
    print_table(
        ("time", "what", "about", "request", "round", "cause"),
        [
            (
                moment(entry.time),
                _what(entry),
                entry.subject,
                entry.request_id or entry.id,
                entry.round,
                _cause(entry),
            )
            for entry in entries
        ],
    )


@audit.command
@click.argument("request_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_session
def show(session: Session, request_id: str, *, as_json: bool) -> None:
    """Print the whole story of one request."""
    with session.reading("audit") as connection:
        entries = story(connection, request_id)
    if not entries:
        raise click.ClickException(f"the audit knows no request {request_id!r}")
    if as_json:
        for entry in entries:
            print_json(_as_json(entry))
        return
    steps = timeline([entry.body for entry in entries])
    print_line(f"request {request_id}, node {entries[0].subject}", style="bold")
    start = steps[0].time
    print_table(
        ("time", "offset", "round", "what", "attempt", "details"),
        [
            (
                moment(step.time),
                f"+{duration(step.time - start)}",
                step.round,
                step.what,
                step.attempt,
                step.details,
            )
            for step in steps
        ],
    )


def _what(entry: Entry) -> str:
    return entry.happening or entry.type.removeprefix("lamplighter.").removesuffix(".v1")


def _cause(entry: Entry) -> str | None:
    if entry.quarantined:
        return why_quarantined(entry.body)
    data = json.loads(entry.body)["data"]
    if isinstance(cause := data.get("cause"), dict):
        return f"{cause.get('error')}: {cause.get('message')}"
    if data.get("dry_run") and entry.happening == Happening.COMPLETED:
        return "dry run: would call " + (", ".join(map(_action, data["actions"])) or "nothing")
    words = data.get("reason") or data.get("message")
    return None if words is None else str(words)


def _action(action: dict[str, object]) -> str:
    return f"{action['action']} on {action['server_id']}"


def _as_json(entry: Entry) -> dict[str, object]:
    shown: dict[str, object] = {
        "seq": entry.seq,
        "time": moment(entry.time),
        "recorded_at": moment(entry.recorded_at),
        "type": entry.type,
        "happening": entry.happening,
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
