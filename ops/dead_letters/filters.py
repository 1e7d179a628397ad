"""The filters that all commands about dead letters share."""

import time
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import click

from ops.cli.options import hostlist, length
from ops.dead_letters.select import Choice
from workers.config.settings import Settings

ChoosingCommand: TypeAlias = Callable[..., Any]


def choice_options(command: ChoosingCommand) -> ChoosingCommand:
    """The filters, alike for all commands; `choice` reads them."""
    for option in (
        click.option("--younger-than", "younger", type=length, help="Died within this: 2h."),
        click.option("--older-than", "older", type=length, help="Died longer ago than this: 2h."),
        click.option("--job", type=int, help="Asked for this job."),
        click.option("--queue", help="Died in this work queue."),
        click.option("--says", help="Whose cause says this: 'no valid host'."),
        click.option("--cause", help="Died of this class of error: quota, malformed, ..."),
        click.option("--cloud", help="Of nodes on this cloud."),
        click.option("--group", help="Of nodes of this group."),
        click.option("--node", "nodes", type=hostlist, help="Nodes, as a hostlist: node[1-3]."),
        click.option("--id", "more_ids", multiple=True, help="As the arguments."),
        click.argument("ids", nargs=-1),
    ):
        command = option(command)
    return command


def choice(  # noqa: PLR0913 - one per option
    settings: Settings,
    *,
    ids: tuple[str, ...],
    more_ids: tuple[str, ...],
    nodes: tuple[str, ...] | None,
    group: str | None,
    cloud: str | None,
    cause: str | None,
    says: str | None,
    queue: str | None,
    job: int | None,
    older: int | None,
    younger: int | None,
) -> Choice:
    """Which letters the options ask for.

    Raises:
        click.BadParameter: there is no such group or cloud.
    """
    now = time.time_ns()
    return Choice(
        ids=ids + more_ids,
        nodes=_members(settings, None if nodes is None else frozenset(nodes), group, cloud),
        cause=cause,
        says=says,
        queue=queue,
        job=job,
        before=None if older is None else now - older,
        after=None if younger is None else now - younger,
    )


def _members(
    settings: Settings, named: Collection[str] | None, group: str | None, cloud: str | None
) -> Collection[str] | None:
    """The nodes that are named and of that group and on that cloud; None where nothing is asked."""
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
