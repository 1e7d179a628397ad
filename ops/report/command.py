"""`lamplighter report`: usage and waste."""

import csv
import sys
import time
from typing import TextIO

import click

from ops.cli.options import length, when
from ops.cli.session import Session, pass_session
from ops.cli.terminal import print_json, print_line, print_table
from ops.report.inputs import allocations
from ops.report.page import page
from ops.report.question import BY
from ops.report.report import Report, make

_WEEK = 7 * 86_400 * 10**9


@click.command
@click.option("--from", "begin", type=when, help="A time, or how long ago: 7d (the default).")
@click.option("--to", "end", type=when, help="Likewise; exclusive; now by default.")
@click.option("--by", type=click.Choice(BY), default="group", help="What the rows are (group).")
@click.option(
    "--format", "form", type=click.Choice(("table", "json", "csv", "html")), default="table"
)
@click.option(
    "--sacct",
    type=click.File(),
    help="What sacct printed, in place of what snapshots told of jobs.",
)
@click.option(
    "--suspend-time",
    type=length,
    help="Tell the idle hours that it would have spared: 10m.",
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
    """Print how long nodes were lit, booting and idle, and what that saved. Times are hours.

    lit: powered on. booting: from a boot's first call to its end. allocated: given to jobs, by snapshots or --sacct;
    idle: to none; untold: lit while no snapshot told of the node. spared: idle beyond --suspend-time.
    saved: against nodes that are always on. visible: what EGI's accounting counts.
    orphans: nodes found burning that Slurm held to be powered down. strays: servers found that bear our tags and are no node's.
    """
    until = time.time_ns() if end is None else end
    since = until - _WEEK if begin is None else begin
    if since >= until:
        raise click.BadParameter("it must be before --to", param_hint="--from")
    given = None if sacct is None else allocations(sacct)
    made = make(session, since, until, by, given, suspend_time=suspend_time)
    if suspend_time is not None and made.rows and made.total.allocated is None:
        raise click.UsageError(
            "--suspend-time: nobody knows what was idle: run the snapshot worker, or give --sacct"
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
        _print(made)


def _print(made: Report) -> None:
    print_table(made.columns, made.cells, title=f"{made.begin_words} to {made.end_words}")
    if made.total.allocated is None:
        print_line(
            "allocated and idle hours need the snapshot worker or --sacct; see lamplighter report --help"
        )
