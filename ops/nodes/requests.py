"""Commands that send a request for nodes: `nodes deploy|retire|adopt`, `resume` and `suspend`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import hostlist
import sqlalchemy as sa

from ops.cli.errors import StoreMissingError
from ops.cli.options import (
    CommandDecorator,
    combine,
    confirm,
    json_option,
    length,
    reason_option,
    required_reason_option,
    yes_option,
)
from ops.cli.session import Session, pass_session
from ops.cli.terminal import plural, print_json, print_line, warn
from ops.nodes.node_state import (
    nodes_down,
    nodes_in_service,
    nodes_powered_on,
    nodes_with_open_requests,
)
from ops.nodes.submit import resolve_nodes, submit
from ops.nodes.wait_for_outcome import wait_and_report
from schemas.commands import Kind

_NS = 1_000_000_000

# Why a node is skipped, and how such nodes are found.
_IN_USE: Mapping[str, Callable[[sa.Connection, str], set[str]]] = {
    "powered on": nodes_powered_on,
    "in service in Slurm; drain them first": nodes_in_service,
}
# Its server boots, Slurm returns it to service, and the power-off would end its new job.
_RETURNS = {"down in Slurm, and back in service when they boot; drain them first": nodes_down}

_powered_on_option = click.option(
    "--powered-on", is_flag=True, help="Include nodes that may have jobs: THEIR JOBS END."
)


def request_options(*, target: str = "GROUP|HOSTLIST") -> CommandDecorator:
    """The argument and the options of all commands that send a request for nodes."""
    return combine(
        json_option("node, as it ends; with --no-wait, as it is asked"),
        click.option(
            "--timeout", type=length, metavar="TIME", help="Wait no longer than this, such as 30m."
        ),
        click.option("--no-wait", is_flag=True, help="Do not wait for the outcomes."),
        click.argument("target", metavar=target),
    )


@click.command
@request_options()
@reason_option
@_powered_on_option
@pass_session
def deploy(session: Session, /, target: str, *, powered_on: bool, **options: Any) -> None:  # noqa: ANN401 - see submit_and_wait
    """Create the servers of nodes that have none, then power them off.

    Each server runs for `deploy_wait` seconds first, so that cloud-init can finish. A node that has
    a server is only powered off. A node that is powered on, or to which Slurm may give a job, is
    skipped.
    """
    chosen = resolve_nodes(session, target)
    groups = {session.settings.nodes[node] for node in chosen}
    bare = sorted(name for name in groups if session.settings.groups[name].server is None)
    if bare:
        raise click.UsageError(
            f"{', '.join(f'[groups.{name}.server]' for name in bare)} is missing: add what servers are made from"
        )
    if not powered_on:
        chosen = _skip(session, chosen, {**_IN_USE, **_RETURNS}, options)
    submit_and_wait(session, Kind.DEPLOY, chosen, **options)


@click.command
@request_options()
@reason_option
@_powered_on_option
@yes_option
@pass_session
def retire(
    session: Session,
    /,
    target: str,
    *,
    powered_on: bool,
    yes: bool,
    **options: Any,  # noqa: ANN401 - see submit_and_wait
) -> None:
    """Delete the servers of nodes.

    Only servers with Lamplighter's tags are deleted. A node that is powered on, or in service in
    Slurm, is skipped.
    """
    chosen = resolve_nodes(session, target)
    if not powered_on:
        chosen = _skip(session, chosen, _IN_USE, options)
    confirm(
        f"Delete the servers of {plural(len(chosen), 'node')}, {_names(chosen)}, permanently",
        yes=yes,
    )
    submit_and_wait(session, Kind.RETIRE, chosen, **options)


@click.command
@request_options()
@reason_option
@pass_session
def adopt(session: Session, /, target: str, **options: Any) -> None:  # noqa: ANN401 - see submit_and_wait
    """Tag the servers with these nodes' names as Lamplighter's.

    Their power state does not change. A node with a request in progress is skipped.
    """
    chosen = resolve_nodes(session, target)
    # adopting would supersede the open request: a node that is starting would never be up
    open_ = {"a request is in progress": nodes_with_open_requests}
    chosen = _skip(session, chosen, open_, options)
    submit_and_wait(session, Kind.ADOPT, chosen, **options)


@click.command
@request_options()
@required_reason_option
@pass_session
def resume(session: Session, /, target: str, **options: Any) -> None:  # noqa: ANN401 - see submit_and_wait
    """Power on nodes, as Slurm's ResumeProgram does.

    Slurm does not know about it. Hold the nodes too: otherwise the resync worker powers off again
    the nodes that Slurm wants powered down.
    """
    submit_and_wait(session, Kind.RESUME, resolve_nodes(session, target), **options)


@click.command
@request_options()
@required_reason_option
@yes_option
@pass_session
def suspend(session: Session, /, target: str, *, yes: bool, **options: Any) -> None:  # noqa: ANN401 - see submit_and_wait
    """Power off nodes, as Slurm's SuspendProgram does. Jobs on them end.

    Slurm does not know about it. Hold the nodes too: otherwise the resync worker powers on again
    the nodes that Slurm wants up.
    """
    chosen = resolve_nodes(session, target)
    confirm(
        f"Power off {plural(len(chosen), 'node')}, {_names(chosen)}, and end their jobs", yes=yes
    )
    submit_and_wait(session, Kind.SUSPEND, chosen, **options)


def submit_and_wait(  # noqa: PLR0913 - one per option
    session: Session,
    kind: Kind,
    chosen: Sequence[str],
    *,
    reason: str | None,
    no_wait: bool,
    timeout: int | None,
    as_json: bool,
    image: str | None = None,
) -> None:
    """Send requests; unless --no-wait, wait for the outcomes, print them and end the process."""
    if not no_wait:
        with session.reading("state"):
            pass  # without the store there are no outcomes to wait for: fail before the request
    commands = submit(session, kind, chosen, reason, image=image)
    if no_wait and as_json:
        for command in commands:
            print_json({"node": command.node, "request_id": command.id, "outcome": None})
    elif no_wait:
        print_line(f"sent requests for {plural(len(commands), 'node')}; see lamplighter nodes list")
    if no_wait:
        return
    seconds = None if timeout is None else timeout / _NS
    sys.exit(wait_and_report(session, commands, seconds, as_json=as_json))


def _skip(
    session: Session,
    chosen: Sequence[str],
    reasons: Mapping[str, Callable[[sa.Connection, str], set[str]]],
    options: dict[str, Any],
) -> list[str]:
    """The chosen nodes without those for which there is a reason; each is named with its first one.

    --no-wait works without a state store.
    """
    left = list(chosen)
    try:
        with session.reading("state") as connection:
            for why, read in reasons.items():
                found = read(connection, session.settings.cluster)
                if names := [node for node in left if node in found]:
                    warn(f"skipped, {why}: {_names(names)}")
                left = [node for node in left if node not in found]
    except StoreMissingError:
        if not options["no_wait"]:
            raise
    if not left:
        raise click.ClickException("all nodes are skipped")
    return left


def _names(chosen: Sequence[str]) -> str:
    return str(hostlist.collect_hostlist(chosen))
