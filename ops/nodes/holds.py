"""`lamplighter hold` and `release`: exclude nodes under maintenance from all actions."""

import sys
import time
from collections.abc import Collection, Sequence

import click
import hostlist

from ops.cli import options
from ops.cli.errors import EXIT_FOUND
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import Columns, duration, print_line, print_rows, warn
from ops.nodes.notices import publish_holds
from ops.nodes.submit import resolve_nodes
from workers.store.holds import Hold, all_holds, lift, place


@click.command
@click.argument("nodes", metavar="GROUP|HOSTLIST")
@click.option(
    "--reason",
    required=True,
    type=options.reason,
    help="Reason; shown wherever the nodes are shown.",
)
@pass_session
def hold(session: Session, nodes: str, reason: str) -> None:
    """Exclude nodes from all actions, for example during maintenance.

    Lamplighter does not power them on or off, does not repair them, and does not change their state
    in Slurm. Slurm's requests for them wait until `lamplighter release`. A cloud call that is in
    progress is not interrupted.
    """
    chosen = resolve_nodes(session, nodes)
    place_holds(session, chosen, reason, operator())
    print_line(f"on hold: {hostlist.collect_hostlist(chosen)}")


@click.command
@click.argument("nodes", metavar="GROUP|HOSTLIST")
@pass_session
def release(session: Session, nodes: str) -> None:
    """End a hold. Requests that waited for it start within half a minute."""
    lifted = lift_holds(session, resolve_held(session, nodes), operator())
    if not lifted:
        warn("none of these nodes is on hold")
        sys.exit(EXIT_FOUND)
    print_line(f"released: {hostlist.collect_hostlist(lifted)}")


def resolve_held(session: Session, text: str) -> list[str]:
    """As `resolve_nodes`, for nodes on hold, too: a hold outlasts its node in lamplighter.toml."""
    with session.reading("state") as connection:
        held = all_holds(connection, session.settings.cluster)
    return resolve_nodes(session, text, also=held)


def place_holds(session: Session, nodes: Sequence[str], reason: str, by: str) -> None:
    """Place holds in this operator's name, and publish that; raises as `publish` does."""
    now = time.time_ns()
    with session.writing() as connection:
        place(connection, session.settings.cluster, [Hold(n, reason, by, now) for n in nodes])
    publish_holds(session, "hold.placed", "is on hold", dict.fromkeys(nodes, reason), by)


def lift_holds(session: Session, nodes: Sequence[str], by: str) -> list[str]:
    """Release these nodes in this operator's name, and publish that; returns those that were on hold.

    Raises as `publish` does.
    """
    with session.writing() as connection:
        holds = all_holds(connection, session.settings.cluster)
        lifted = lift(connection, session.settings.cluster, nodes)
    reasons = {node: holds[node].reason for node in lifted}
    if reasons:
        publish_holds(session, "hold.released", "is no longer on hold", reasons, by)
    return lifted


def print_holds(holds: Collection[Hold]) -> None:
    """Print a table of holds, grouped by reason and operator; nothing if there are none."""
    if not holds:
        return
    now = time.time_ns()
    groups: dict[tuple[str, str], list[Hold]] = {}
    for one in holds:
        groups.setdefault((one.reason, one.by), []).append(one)
    print_line("")
    columns: Columns[list[Hold]] = {
        "on hold": lambda group: hostlist.collect_hostlist([hold.node for hold in group]),
        "reason": lambda group: group[0].reason,
        "by": lambda group: group[0].by,
        "for": lambda group: duration(now - min(hold.since for hold in group)),
    }
    print_rows(columns, groups.values(), empty="no holds")
