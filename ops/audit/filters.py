"""Options that select records of the audit, for several commands."""

from typing import Any

import click

from ops.cli.options import combine, hostlist, job_id, when
from schemas.events import Transition
from workers.audit.queries import Filter

time_options = combine(
    click.option("--until", type=when, help="End, same format; exclusive."),
    click.option("--since", type=when, help="Start: a time, or how long ago (2h)."),
)
# `filter_of` turns these into a filter.
filter_options = combine(
    click.option("--request", "request_id", help="Only this request."),
    click.option(
        "--outcome",
        "transitions",
        multiple=True,
        type=click.Choice([str(transition) for transition in Transition]),
        help="Only this transition; may be repeated.",
    ),
    time_options,
    click.option(
        "--uws", help="Only jobs that ran for this UWS job, and the requests they waited for."
    ),
    click.option("--job", type=job_id, help="Only this job, and the requests it waited for."),
    click.option("--node", "nodes", type=hostlist, help="Only these nodes: node[1-3]."),
)


def filter_of(*, transitions: tuple[str, ...], **options: Any) -> Filter:  # noqa: ANN401 - one per option
    """The filter for these options; an option that is not given selects all records."""
    return Filter(transitions=transitions or None, **options)
