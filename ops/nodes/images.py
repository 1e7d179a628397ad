"""`lamplighter image`: an image of a prepared node, for all of its group."""

import sys
import time
from typing import Any

import click

from ops.cli.options import image_name
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import moment, print_json, print_line, print_table
from ops.nodes.command import asking, carry_out, confirm
from ops.nodes.notices import tell
from ops.nodes.submit import ask, members
from schemas.commands import Kind
from schemas.events import Notice
from workers.store.group_images import GroupImage, by_group
from workers.store.group_images import unset as unset_in


@click.group
def image() -> None:
    """The images that servers are made from."""


@image.command
@asking(target="NODE")
@click.option("--name", required=True, type=image_name, help="The new image's name.")
@click.option("--reason", help="Why; kept in the audit.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def bake(session: Session, /, target: str, *, name: str, yes: bool, **options: Any) -> None:  # noqa: ANN401 - see carry_out
    """Put a prepared node out, make an image of its server, and let its group use it.

    Servers of the group that are made from then on are made from this image; those that there are
    stay as they are.
    """
    chosen = members(session, target)
    if len(chosen) != 1:
        raise click.BadParameter(f"{target} means {len(chosen)} nodes; an image is made of one")
    group = session.settings.nodes[chosen[0]]
    if session.settings.groups[group].server is None:
        raise click.UsageError(
            f"[groups.{group}.server] is missing: no server would be made from the image"
        )
    confirm(f"put out {chosen[0]}, whose jobs end, to make image {name} of it", yes=yes)
    carry_out(
        session, lambda reason: ask(session, Kind.BAKE, chosen, reason, image=name), **options
    )


@image.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a group.")
@pass_session
def list_(session: Session, *, as_json: bool) -> None:
    """Print what each group's servers are made from."""
    with session.reading("state") as connection:
        baked = by_group(connection, session.settings.cluster)
    rows = []
    for group, about in session.settings.groups.items():
        own = baked.get(group)
        rows.append(
            {
                "group": group,
                "configured": about.server.image if about.server else None,
                "image": own.image_name if own else None,
                "image_id": own.image_id if own else None,
                "baked_from": own.node if own else None,
                "since": moment(own.set_at) if own else None,
            }
        )
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table(
        ("group", "configured image", "baked image", "its id", "of node", "since"),
        [tuple(row.values()) for row in rows],
    )


@image.command
@click.argument("group")
@click.option("--reason", required=True, help="Why; kept in the audit.")
@pass_session
def unset(session: Session, group: str, reason: str) -> None:
    """Let a group's servers be made from the configured image again; the baked one stays."""
    store = session.store()
    try:
        with store.begin() as connection:
            was = unset_in(connection, session.settings.cluster, group)
    finally:
        store.dispose()
    if was is None:
        click.echo(f"lamplighter: group {group!r} uses no baked image", err=True)
        sys.exit(1)
    print_line(f"{group}: no longer {was.image_name} ({was.image_id})")
    _tell(session, was, reason)


def _tell(session: Session, was: GroupImage, reason: str) -> None:
    notice = Notice(
        name="group.image_unset",
        cluster=session.settings.cluster,
        subject=was.group_name,
        key=was.request_id,
        time=time.time_ns(),
        message=f"servers of group {was.group_name} are made from the configured image again",
        remedy="lamplighter image bake",
        details={
            "by": operator(),
            "reason": reason,
            "image_id": was.image_id,
            "image": was.image_name,
        },
    )
    tell(session, notice)
