"""`lamplighter audit export`: records as CloudEvents, or as CSV for spreadsheets."""

import base64
import csv
import json
from pathlib import Path
from typing import Any

import click

from ops.audit.filters import filter_of, filter_options
from ops.audit.records import data_of, details, event_name
from ops.cli.files import cell_of, output
from ops.cli.session import Session, pass_session
from ops.cli.terminal import json_line, moment, plural
from schemas.envelope import rfc3339
from workers.audit.queries import Entry, oldest_first

_COLUMNS = [
    "seq",
    "time",
    "recorded_at",
    "what",
    "kind",
    "about",
    "request",
    "round",
    "jobs",
    "cloud",
    "why",
]


@click.command
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    help="Form of the output (default: jsonl).",
)
@filter_options
@pass_session
def export(session: Session, /, *, file: Path, format_: str, **options: Any) -> None:  # noqa: ANN401 - see filter_of
    """Write records to FILE (- for standard output), in the order they were recorded.

    jsonl writes one CloudEvent a line, with the extensions auditseq, audithash and auditsender. csv
    is for spreadsheets; cells that look like formulas are quoted. FILE must not exist.
    """
    as_csv, count = format_ == "csv", 0
    with session.reading("audit", unchanged=True) as connection, output(file) as out:
        write_row = csv.writer(out, lineterminator="\r\n").writerow  # RFC 4180
        if as_csv:
            write_row(_COLUMNS)
        for entry, hash_ in oldest_first(connection, filter_of(connection, **options)):
            if as_csv:
                write_row(map(cell_of, _cells(entry)))
            else:
                out.write(f"{json_line(cloud_event(entry, hash_))}\n")
            count += 1
    click.echo(f"lamplighter: {plural(count, 'record')}", err=True)


def _cells(entry: Entry) -> tuple[object, ...]:
    data = data_of(entry)
    # only requests' events are known to hold jobs as we write them
    known = data.get("jobs", ()) if entry.transition else ()
    jobs = " ".join(str(job["job_id"]) for job in known)
    times = moment(entry.time), moment(entry.recorded_at)
    request = entry.subject, entry.request_id, entry.round
    return (
        entry.seq,
        *times,
        event_name(entry),
        data.get("kind"),
        *request,
        jobs,
        data.get("cloud"),
        details(entry),
    )


def cloud_event(entry: Entry, hash_: bytes) -> dict[str, object]:
    """The record as a CloudEvent; a message that could not be parsed is in data_base64."""
    event: dict[str, object]
    if entry.quarantined:
        event = {
            "specversion": "1.0",
            "id": entry.id,
            "source": entry.source,
            "type": entry.type,
            "time": rfc3339(entry.time),
            "data_base64": base64.b64encode(entry.body).decode(),
        }
    else:
        event = json.loads(entry.body)
    # strings: integers in CloudEvents have 32 bits
    event |= {"auditseq": str(entry.seq), "audithash": hash_.hex(), "auditsender": entry.sender}
    if entry.sender is None:
        del event["auditsender"]  # also one that the message itself claims
    return event
