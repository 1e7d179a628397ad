"""The filter options of all commands about dead letters."""

import time
from collections.abc import Collection
from typing import Any

import click

from ops.cli.options import combine, hostlist, job_id, length
from ops.dead_letters.select import LetterFilter
from workers.config.settings import Settings

# All commands have these filters; `letter_filter` reads them.
filter_options = combine(
    click.option(
        "--younger-than", "younger", type=length, metavar="TIME", help="Younger than this: 2h."
    ),
    click.option("--older-than", "older", type=length, metavar="TIME", help="Older than this: 2h."),
    click.option(
        "--stale", is_flag=True, help="Whose node a newer request wants in another state."
    ),
    click.option("--job", type=job_id, help="Requested for this job, or about it."),
    click.option("--queue", help="From this work queue."),
    click.option(
        "--message", metavar="TEXT", help="The error message contains this: 'no valid host'."
    ),
    click.option("--cause", help="With this class of error, such as quota or malformed."),
    click.option("--cloud", help="Of nodes on this cloud."),
    click.option("--group", help="Of nodes in this group."),
    click.option("--node", "nodes", type=hostlist, help="Of these nodes, such as node[1-3]."),
    click.argument("ids", nargs=-1, metavar="[ID...]"),
)


def letter_filter(  # noqa: PLR0913 - one per option
    settings: Settings,
    *,
    nodes: tuple[str, ...] | None,
    group: str | None,
    cloud: str | None,
    older: int | None,
    younger: int | None,
    **same: Any,  # noqa: ANN401 - the options that are fields of the filter
) -> LetterFilter:
    """The filter that the options describe; click.BadParameter for an unknown group or cloud."""
    now = time.time_ns()
    return LetterFilter(
        nodes=_members(settings, nodes and frozenset(nodes), group, cloud),
        before=None if older is None else now - older,
        after=None if younger is None else now - younger,
        **same,
    )


def _members(
    settings: Settings, named: Collection[str] | None, group: str | None, cloud: str | None
) -> Collection[str] | None:
    """The named nodes that are in the group and on the cloud; None if no option restricts nodes."""
    if group is not None and group not in settings.groups:
        raise click.BadParameter(f"there is no [groups.{group}]", param_hint="--group")
    if cloud is not None and cloud not in settings.clouds:
        raise click.BadParameter(f"there is no [clouds.{cloud}]", param_hint="--cloud")
    if group is None and cloud is None:
        return named
    return {
        node
        for node, name in settings.nodes.items()
        if (named is None or node in named)
        and group in {None, name}
        and cloud in {None, settings.groups[name].cloud}
    }
