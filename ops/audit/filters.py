"""Which records of the audit: the options that several commands share."""

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from ops.cli.options import hostlist, when
from schemas.events import Transition
from workers.audit.queries import Filter

FilteredCommand: TypeAlias = Callable[..., Any]

_TRANSITIONS = [str(transition) for transition in Transition]


def time_options(command: FilteredCommand) -> FilteredCommand:
    """From when to when."""
    for option in (
        click.option("--until", type=when, help="Likewise; exclusive."),
        click.option("--since", type=when, help="A time, or how long ago: 2h."),
    ):
        command = option(command)
    return command


def filter_options(command: FilteredCommand) -> FilteredCommand:
    """All filters; `wanted` reads them."""
    for option in (
        click.option("--request", "request_id", help="Only this request's."),
        click.option(
            "--outcome", multiple=True, type=click.Choice(_TRANSITIONS), help="May be repeated."
        ),
        time_options,
        click.option("--uws", help="Of the jobs that ran for this UWS job."),
        click.option("--job", type=int, help="About this job, and the requests it waited for."),
        click.option("--node", "nodes", type=hostlist, help="Nodes, as a hostlist: node[1-3]."),
    ):
        command = option(command)
    return command


def wanted(  # noqa: PLR0913 - one per option
    *,
    nodes: tuple[str, ...] | None,
    job: int | None,
    uws: str | None,
    since: int | None,
    until: int | None,
    outcome: tuple[str, ...],
    request_id: str | None,
    limit: int | None = None,
    after: int | None = None,
) -> Filter:
    """The filter that the options ask for."""
    return Filter(
        nodes=nodes,
        job=job,
        uws=uws,
        since=since,
        until=until,
        transitions=outcome or None,
        request_id=request_id,
        after=after,
        limit=limit,
    )
