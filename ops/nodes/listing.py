"""`lamplighter nodes list` and `show`."""

from dataclasses import asdict

import click

from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import json_moment, moment, print_json, print_line, print_table
from ops.nodes.node_state import NodeStatus, node_statuses, recent_requests
from workers.store.group_images import GroupImage, by_group

_REQUESTS_SHOWN = 10


@click.command("list")
@click.option("--group", help="Only nodes of this group.")
@json_option("node")
@pass_session
def list_(session: Session, *, group: str | None, as_json: bool) -> None:
    """List all nodes and their states."""
    if group is not None and group not in session.settings.groups:
        raise click.BadParameter(f"there is no [groups.{group}]", param_hint="--group")
    with session.reading("state") as connection:
        found = node_statuses(connection, session.settings)
        images = by_group(connection, session.settings.cluster)
    found = [node for node in found if group is None or node.group == group]
    if as_json:
        for node in found:
            baked = images.get(node.group or "")
            print_json({**_as_json(node), "image_id": baked and baked.image_id})
        return
    print_table(
        ("node", "group", "cloud", "strategy", "desired", "since", "observed", "server", "hold"),
        [
            (
                node.node,
                node.group or "in no group",
                node.cloud,
                node.strategy,
                node.desired,
                moment(node.generation),
                node.observed,
                node.server_id,
                node.held,
            )
            for node in found
        ],
    )
    print_images([i for i in images.values() if group in {None, i.group_name}])


@click.command
@click.argument("node")
@json_option()
@pass_session
def show(session: Session, node: str, *, as_json: bool) -> None:
    """Show one node and its latest requests."""
    with session.reading("state") as connection:
        statuses = {status.node: status for status in node_statuses(connection, session.settings)}
        requests = recent_requests(connection, session.settings.cluster, node, _REQUESTS_SHOWN)
    status = statuses.get(node)
    if status is None:
        raise click.ClickException(f"{node!r} is not in any group of {session.settings.path}")
    if as_json:
        print_json({**_as_json(status), "requests": [asdict(request) for request in requests]})
        return
    for name, value in _as_json(status).items():
        print_line(f"{name}: {'-' if value is None else value}")
    print_line("")
    print_table(
        ("requested", "request", "round", "kind", "outcome", "ended", "cause", "actions"),
        [
            (
                moment(request.generation),
                request.request_id,
                request.round,
                request.kind,
                request.outcome or "in progress",
                moment(request.decided_at),
                request.cause,
                ", ".join(request.actions) or None,
            )
            for request in requests
        ],
    )
    print_line("for details: lamplighter audit show REQUEST")


def print_images(images: list[GroupImage]) -> None:
    """Print one line for each group that uses a baked image."""
    for image in images:
        print_line(
            f"new servers of {image.group_name} use image {image.image_name} ({image.image_id}),"
            f" baked from {image.node}, since {moment(image.set_at)}"
        )


def _as_json(node: NodeStatus) -> dict[str, object]:
    return {
        **asdict(node),
        "since": json_moment(node.generation),
        "observed_at": json_moment(node.observed_at),
    }
