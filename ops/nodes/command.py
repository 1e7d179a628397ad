"""`lamplighter nodes`: deploy, retire and adopt a group's servers; how the nodes stand."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import click
import hostlist

from ops.cli.errors import StoreMissingError
from ops.cli.options import length
from ops.cli.session import Session, pass_session
from ops.cli.terminal import moment, plain, print_json, print_line, print_table
from ops.nodes.node_state import NodeStatus, busy, last_asked, node_statuses
from ops.nodes.submit import ask, members
from ops.nodes.wait_for_outcome import wait_and_report
from schemas.commands import Kind, PowerCommand
from workers.store.group_images import GroupImage, by_group

_Command: TypeAlias = Callable[..., Any]
_NS = 1_000_000_000
_ASKED = 10


@click.group
def nodes() -> None:
    """The nodes' servers."""


def asking(*, target: str = "GROUP|HOSTLIST") -> Callable[[_Command], _Command]:
    """The argument and the options of all commands that ask something of nodes."""
    options = (
        click.option("--json", "as_json", is_flag=True, help="One JSON object a node, as it ends."),
        click.option("--timeout", type=length, help="Wait no longer than this: 30m."),
        click.option("--no-wait", is_flag=True, help="Ask, and do not wait for the outcomes."),
        click.argument("target", metavar=target),
    )

    def decorate(command: _Command) -> _Command:
        for option in options:
            command = option(command)
        return command

    return decorate


_lit = click.option("--lit", is_flag=True, help="Also nodes that are lit: THEIR JOBS END.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_reason = click.option("--reason", help="Why; kept in the audit.")
_why = click.option("--reason", required=True, help="Why; kept in the audit.")


@nodes.command
@asking()
@_reason
@_lit
@pass_session
def deploy(session: Session, /, target: str, *, lit: bool, **options: Any) -> None:  # noqa: ANN401 - see carry_out
    """Create the servers of nodes that have none, let cloud-init finish, and put them out.

    A node that has a server is only put out; one that is lit is left alone.
    """
    chosen = members(session, target)
    groups = {session.settings.nodes[node] for node in chosen}
    bare = sorted(name for name in groups if session.settings.groups[name].server is None)
    if bare:
        raise click.UsageError(
            f"say how servers are made: {', '.join(f'[groups.{name}.server]' for name in bare)} is missing"
        )
    known = _known(session, wait=not options["no_wait"])
    chosen = chosen if lit else _without(chosen, [n for n in chosen if _is_lit(known, n)], "lit")
    _ask(session, Kind.DEPLOY, chosen, options)


@nodes.command
@asking()
@_reason
@_lit
@_yes
@pass_session
def retire(session: Session, /, target: str, *, lit: bool, yes: bool, **options: Any) -> None:  # noqa: ANN401 - see carry_out
    """Delete the servers of nodes, by their ids and only those that are ours."""
    chosen = members(session, target)
    known = _known(session, wait=not options["no_wait"])
    chosen = chosen if lit else _without(chosen, [n for n in chosen if _is_lit(known, n)], "lit")
    confirm(f"delete the servers of {len(chosen)} nodes, {_names(chosen)}, for good", yes=yes)
    _ask(session, Kind.RETIRE, chosen, options)


@nodes.command
@asking()
@_reason
@pass_session
def adopt(session: Session, /, target: str, **options: Any) -> None:  # noqa: ANN401 - see carry_out
    """Tag the servers that have these nodes' names as ours; their power stays as it is."""
    chosen = members(session, target)
    waits = not options["no_wait"]
    try:
        with session.reading("state") as connection:
            under_way = busy(connection, session.settings.cluster, chosen)
    except StoreMissingError:
        if waits:
            raise
        under_way = set()
    # adopting is the newer wish: a node on its way up would stay where it is
    chosen = _without(chosen, [node for node in chosen if node in under_way], "under way")
    _ask(session, Kind.ADOPT, chosen, options)


@click.command
@asking()
@_why
@pass_session
def resume(session: Session, /, target: str, **options: Any) -> None:  # noqa: ANN401 - see carry_out
    """Light nodes, as Slurm's ResumeProgram would.

    Slurm is not told: hold them too, or the resync worker puts out what Slurm does not count on.
    """
    _ask(session, Kind.RESUME, members(session, target), options)


@click.command
@asking()
@_why
@_yes
@pass_session
def suspend(session: Session, /, target: str, *, yes: bool, **options: Any) -> None:  # noqa: ANN401 - see carry_out
    """Put nodes out, as Slurm's SuspendProgram would; jobs on them end.

    Slurm is not told: hold them too, or the resync worker lights again what Slurm counts on.
    """
    chosen = members(session, target)
    confirm(f"put out {len(chosen)} nodes, {_names(chosen)}, whose jobs end", yes=yes)
    _ask(session, Kind.SUSPEND, chosen, options)


@nodes.command("list")
@click.option("--group", help="Only this group's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a node.")
@pass_session
def list_(session: Session, *, group: str | None, as_json: bool) -> None:
    """Print all nodes, and how they stand."""
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
    for baked in images.values():
        if group in {None, baked.group_name}:
            print_line(f"servers of {baked.group_name} are made from {words(baked)}")


@nodes.command
@click.argument("node")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@pass_session
def show(session: Session, node: str, *, as_json: bool) -> None:
    """Print how one node stands, and what was asked of it lately."""
    with session.reading("state") as connection:
        found = {s.node: s for s in node_statuses(connection, session.settings)}
        asked = last_asked(connection, session.settings.cluster, node, _ASKED)
    standing = found.get(node)
    if standing is None:
        raise click.ClickException(f"{node!r} is in no group of {session.settings.path}")
    if as_json:
        print_json({**_as_json(standing), "requests": [asdict(one) for one in asked]})
        return
    for name, value in _as_json(standing).items():
        print_line(f"{name}: {'-' if value is None else value}")
    print_line("")
    print_table(
        ("asked", "request", "round", "kind", "outcome", "ended", "cause", "actions"),
        [
            (
                moment(one.generation),
                one.request_id,
                one.round,
                one.kind,
                one.outcome or "under way",
                moment(one.decided_at),
                one.cause,
                ", ".join(one.actions) or None,
            )
            for one in asked
        ],
    )
    print_line("more: lamplighter audit show REQUEST")


def _ask(session: Session, kind: Kind, chosen: Sequence[str], options: dict[str, Any]) -> None:
    carry_out(session, lambda reason: ask(session, kind, chosen, reason), **options)


def carry_out(  # noqa: PLR0913 - one per option
    session: Session,
    asks: Callable[[str | None], Sequence[PowerCommand]],
    *,
    reason: str | None,
    no_wait: bool,
    timeout: int | None,
    as_json: bool,
) -> None:
    """Ask, then wait and report as the options say; ends the process where it has waited."""
    if not no_wait:
        with session.reading("state"):
            pass  # whoever cannot be told the outcome hears so before anything is asked
    asked = asks(reason)
    if no_wait:
        print_line(f"asked of {len(asked)} nodes; see lamplighter nodes list")
        return
    seconds = None if timeout is None else timeout / _NS
    sys.exit(wait_and_report(session, asked, seconds, as_json=as_json))


def _known(session: Session, *, wait: bool) -> dict[str, NodeStatus]:
    """How the nodes stand; where no worker has made a store yet, none is lit."""
    try:
        with session.reading("state") as connection:
            return {s.node: s for s in node_statuses(connection, session.settings)}
    except StoreMissingError:
        if wait:
            raise
        return {}


def _is_lit(known: dict[str, NodeStatus], node: str) -> bool:
    return node in known and known[node].lit


def _without(chosen: Sequence[str], spared: Sequence[str], why: str) -> list[str]:
    if spared:
        click.echo(f"lamplighter: left alone, {why}: {_names(spared)}", err=True)
    left = [node for node in chosen if node not in set(spared)]
    if not left:
        raise click.ClickException("no node is left to ask this of")
    return left


def confirm(what: str, *, yes: bool) -> None:
    """Ask whether to do this, unless that was said already."""
    if not yes:
        click.confirm(plain(what[0].upper() + what[1:]) + "?", abort=True)


def words(image: GroupImage) -> str:
    """An image in words."""
    since = moment(image.set_at)
    return f"image {image.image_name} ({image.image_id}), baked of {image.node}, since {since}"


def _names(chosen: Sequence[str]) -> str:
    return str(hostlist.collect_hostlist(chosen))


def _as_json(node: NodeStatus) -> dict[str, object]:
    return {
        **asdict(node),
        "since": None if node.generation is None else moment(node.generation),
        "observed_at": None if node.observed_at is None else moment(node.observed_at),
    }
