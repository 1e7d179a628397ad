"""`lamplighter report`: usage and waste."""

import csv
import sys
import time
from typing import TextIO

import click

from ops.cli.options import length, when
from ops.cli.session import Session, pass_session
from ops.cli.terminal import moment, print_json, print_line, print_table
from ops.report.inputs import allocations
from ops.report.page import page
from ops.report.question import BY
from ops.report.report import make_report

_WEEK = 7 * 86_400 * 10**9


@click.command
@click.option("--from", "begin", type=when, help="Start: a time, or how long ago (default 7d).")
@click.option("--to", "end", type=when, help="End, same format; exclusive (default now).")
@click.option(
    "--by", type=click.Choice(BY), default="group", show_default=True, help="What the rows are."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "json", "csv", "html")),
    default="table",
    help="Form of the output (default: table).",
)
@click.option(
    "--sacct",
    # names of users may be in another encoding
    type=click.File(encoding="utf-8", errors="backslashreplace"),
    help="Output of sacct, to use instead of what snapshots reported about jobs.",
)
@click.option(
    "--suspend-time",
    type=length,
    help="Compute the idle hours that this SuspendTime would have saved (10m).",
)
@pass_session
def report(  # noqa: PLR0913 - one per option
    session: Session,
    /,
    *,
    begin: int | None,
    end: int | None,
    by: str,
    form: str,
    sacct: TextIO | None,
    suspend_time: int | None,
) -> None:
    """Print how long nodes were powered on, booting and idle, and what was saved, in hours.

    \b
    powered_on     from seen running to seen stopped
    booting        from a boot's first call to its end
    allocated      allocated to jobs, by snapshots or --sacct
    idle           powered on but not allocated
    timer          part of idle: a job waited for slurmctld's timer, all its nodes ready
    timer_saved    what lamplighter-prolog has saved of that (15 s per job start and node)
    unknown        powered on, but no snapshot reported the node
    suspend_saved  idle time beyond --suspend-time
    saved          compared with nodes that are always on
    visible        what EGI's accounting counts
    orphans        nodes found running that Slurm considered powered down
    strays         servers found with our tags that belong to no node
    """  # noqa: D301 - \b tells click not to wrap
    now = time.time_ns()
    until = now if end is None else end
    since = until - _WEEK if begin is None else begin
    if since >= min(until, now):
        raise click.BadParameter("must be before --to, and in the past", param_hint="--from")
    allocated = None if sacct is None else allocations(sacct)
    made = make_report(session, since, until, by, allocated, suspend_time=suspend_time)
    if suspend_time is not None and made.rows and made.total.allocated is None:
        raise click.UsageError(
            "--suspend-time: idle time is not known; run the snapshot worker, or pass --sacct"
        )
    if form == "html":
        click.echo(page(made, session.settings.cluster))
    elif form == "json":
        print_json(made.as_json())
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(made.columns)
        writer.writerows(made.cells)
    else:
        print_table(made.columns, made.cells, title=f"{moment(made.begin)} to {moment(made.end)}")
        if made.rows and made.total.allocated is None:
            print_line("allocated and idle hours need the snapshot worker or --sacct")
