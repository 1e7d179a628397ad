"""`lamplighter image`: makes an image from a prepared node, for all new servers of its group."""

import sys
import time
from typing import Any

import click

from ops.cli.errors import EXIT_FOUND
from ops.cli.options import (
    confirm,
    image_name,
    json_option,
    reason_option,
    required_reason_option,
    yes_option,
)
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import Columns, moment, print_items, print_line, warn
from ops.nodes.notices import publish
from ops.nodes.requests import request_options, submit_and_wait
from ops.nodes.submit import resolve_nodes
from schemas.commands import Kind
from schemas.notices import Notice
from workers.store.group_images import by_group
from workers.store.group_images import unset as unset_in


@click.group
def image() -> None:
    """Make an image from a node, and choose what servers are made from."""


@image.command(short_help="Make an image from a node for its group.")
@request_options(target="NODE")
@click.option(
    "--name", required=True, type=image_name, metavar="NAME", help="Name of the new image."
)
@reason_option
@yes_option
@pass_session
def bake(session: Session, /, target: str, *, name: str, yes: bool, **options: Any) -> None:  # noqa: ANN401 - see submit_and_wait
    """Power off a prepared node, make an image from its server, and let its group use the image.

    New servers of the group are made from the image. Existing servers do not change.
    """
    chosen = resolve_nodes(session, target)
    if len(chosen) != 1:
        raise click.BadParameter(
            f"{target} means {len(chosen)} nodes; an image is made from one node"
        )
    group = session.settings.nodes[chosen[0]]
    if session.settings.groups[group].server is None:
        raise click.UsageError(
            f"[groups.{group}.server] is missing: no server would be made from the image"
        )
    confirm(f"Power off {chosen[0]}, end its jobs, and make image {name} from it", yes=yes)
    submit_and_wait(session, Kind.BAKE, chosen, image=name, **options)


@image.command("list", short_help="Show what each group's servers are made from.")
@json_option("group")
@pass_session
def list_(session: Session, *, as_json: bool) -> None:
    """Show what each group's servers are made from."""
    with session.reading("state") as connection:
        baked = by_group(connection, session.settings.cluster)
    rows: list[dict[str, object]] = []
    for group, settings in session.settings.groups.items():
        own = baked.get(group)
        rows.append(
            {
                "group": group,
                "configured": settings.server and settings.server.image,
                "image": own and own.image_name,
                "image_id": own and own.image_id,
                "baked_from": own and own.node,
                "since": own and moment(own.set_at),
            }
        )
    columns: Columns[dict[str, object]] = {
        "group": lambda row: row["group"],
        "configured image": lambda row: row["configured"],
        "baked image": lambda row: row["image"],
        "image id": lambda row: row["image_id"],
        "baked from": lambda row: row["baked_from"],
    }
    print_items(rows, columns, dict, empty="no groups are configured", as_json=as_json)


@image.command(short_help="Return a group to its configured image.")
@click.argument("group")
@required_reason_option
@pass_session
def unset(session: Session, group: str, reason: str) -> None:
    """Return a group to its configured image. The baked image stays in the cloud."""
    with session.writing() as connection:
        was = unset_in(connection, session.settings.cluster, group)
    if was is None:
        warn(f"group {group!r} uses no baked image")
        sys.exit(EXIT_FOUND)
    print_line(f"{group}: no longer uses {was.image_name} ({was.image_id})")
    image = {"image_id": was.image_id, "image": was.image_name}
    notice = Notice(
        name="group.image_unset",
        cluster=session.settings.cluster,
        subject=was.group_name,
        key=was.request_id,
        time=time.time_ns(),
        message=f"new servers of group {was.group_name} are made from the configured image again",
        remedy="lamplighter image bake",
        details={"by": operator(), "reason": reason, **image},
    )
    publish(session, notice)
