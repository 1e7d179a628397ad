"""Options that select records of the audit, for several commands."""

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from ops.cli.options import hostlist, when
from schemas.events import Transition
from workers.audit.queries import Filter

FilteredCommand: TypeAlias = Callable[..., Any]

_TRANSITIONS = [str(transition) for transition in Transition]


def time_options(command: FilteredCommand) -> FilteredCommand:
    """Add --since and --until."""
    for option in (
        click.option("--until", type=when, help="End, same format; exclusive."),
        click.option("--since", type=when, help="Start: a time, or how long ago (2h)."),
    ):
        command = option(command)
    return command


def filter_options(command: FilteredCommand) -> FilteredCommand:
    """Add all filter options; `filter_of` turns them into a filter."""
    for option in (
        click.option("--request", "request_id", help="Only this request."),
        click.option(
            "--outcome",
            "transitions",
            multiple=True,
            type=click.Choice(_TRANSITIONS),
            help="Only this transition; may be repeated.",
        ),
        time_options,
        click.option(
            "--uws", help="Only jobs that ran for this UWS job, and the requests they waited for."
        ),
        click.option("--job", type=int, help="Only this job, and the requests it waited for."),
        click.option("--node", "nodes", type=hostlist, help="Only these nodes: node[1-3]."),
    ):
        command = option(command)
    return command


def filter_of(*, transitions: tuple[str, ...], **options: Any) -> Filter:  # noqa: ANN401 - one per option
    """The filter for these options; an option that is not given selects all records."""
    return Filter(transitions=transitions or None, **options)
