"""`lamplighter nodes list` and `show`."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

import click

from ops.cli.ids import short_ids
from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import (
    Columns,
    json_moment,
    moment,
    print_json,
    print_line,
    print_rows,
    short_moment,
)
from ops.nodes.node_state import NodeRequest, NodeStatus, node_statuses, recent_requests
from workers.store.group_images import GroupImage, by_group

_REQUESTS_SHOWN = 10
_SERVER_SHOWN = 8
_COLUMNS: Columns[NodeStatus] = {
    "node": lambda node: node.node,
    "group": lambda node: node.group or "in no group",
    "desired": lambda node: node.desired,
    "since": lambda node: short_moment(node.generation),
    "observed": lambda node: node.observed,
    "server": lambda node: node.server_id and node.server_id[:_SERVER_SHOWN],
    "hold": lambda node: node.held,
}


def _request_columns(short: Mapping[str, str]) -> Columns[NodeRequest]:
    return {
        "requested": lambda request: short_moment(request.generation),
        "request": lambda request: short[request.request_id],
        "what": _words,
        "ended": lambda request: short_moment(request.decided_at),
        "cause": lambda request: request.cause,
        "actions": lambda request: ", ".join(request.actions) or None,
    }


def _words(request: NodeRequest) -> str:
    again = f", round {request.round}" if request.round > 1 else ""
    return f"{request.kind or 'request'} {request.outcome or 'in progress'}{again}"


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
    else:
        print_rows(_COLUMNS, found, empty="no nodes")
        print_images(image for image in images.values() if group in {None, image.group_name})


@click.command
@click.argument("node")
@json_option()
@pass_session
def show(session: Session, node: str, *, as_json: bool) -> None:
    """Show one node and its latest requests."""
    with session.reading("state") as connection:
        statuses = node_statuses(connection, session.settings)
        requests = recent_requests(connection, session.settings.cluster, node, _REQUESTS_SHOWN)
    status = next((one for one in statuses if one.node == node), None)
    if status is None:
        raise click.ClickException(f"{node!r} is not in any group of {session.settings.path}")
    if as_json:
        print_json({**_as_json(status), "requests": [asdict(request) for request in requests]})
        return
    for name, value in _as_json(status).items():
        print_line(f"{name}: {'-' if value is None else value}")
    print_line("")
    short = short_ids(session, [request.request_id for request in requests])
    print_rows(_request_columns(short), requests, empty="no requests")
    if requests:
        print_line("for details: lamplighter audit show REQUEST")


def print_images(images: Iterable[GroupImage]) -> None:
    """Print one line for each group that uses a baked image."""
    for image in images:
        print_line(
            f"new servers of {image.group_name} use image {image.image_name} ({image.image_id}),"
            f" baked from {image.node}, since {moment(image.set_at)}"
        )


def _as_json(node: NodeStatus) -> dict[str, object]:
    times = {"since": node.generation, "observed_at": node.observed_at}
    return asdict(node) | {name: json_moment(time) for name, time in times.items()}
