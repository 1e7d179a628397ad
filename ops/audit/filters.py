"""Options that select records of the audit, for several commands."""

from typing import Any

import click
import sqlalchemy as sa

from ops.cli.ids import whole_request_id
from ops.cli.options import combine, hostlist, job_id, when
from schemas.events import Transition
from workers.audit.queries import Filter

time_options = combine(
    click.option("--until", type=when, help="End, same format; exclusive."),
    click.option("--since", type=when, help="Start: a time, or how long ago (2h)."),
)
# `filter_of` turns these into a filter.
filter_options = combine(
    click.option("--request", "request_id", help="Only this request: its id, or the beginning."),
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


def require_span(since: int | None, until: int | None) -> None:
    """Refuse, with a click.BadParameter, a time in which nothing can be: an empty table would lie."""
    if since is not None and until is not None and since >= until:
        raise click.BadParameter("must be before --until", param_hint="--since")


def filter_of(
    connection: sa.Connection,
    *,
    transitions: tuple[str, ...],
    request_id: str | None,
    **options: Any,  # noqa: ANN401 - one per option
) -> Filter:
    """The filter for these options; an option that is not given selects all records.

    Raises:
        AmbiguousIdError: the request is the beginning of several ids.
        click.BadParameter: the time ends before it begins.
    """
    require_span(options["since"], options["until"])
    if request_id is not None:
        request_id = whole_request_id(connection, request_id)
    return Filter(transitions=transitions or None, request_id=request_id, **options)
