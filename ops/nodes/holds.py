"""`lamplighter hold` and `release`: keep everything of ours off a node that somebody is at."""

import sys
import time

import click
import hostlist

from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import duration, print_line, print_table
from ops.nodes.notices import by_operator, tell
from ops.nodes.submit import members
from workers.store.holds import Hold, all_holds, lift, place


@click.command
@click.argument("nodes", metavar="GROUP|HOSTLIST")
@click.option("--reason", required=True, help="Why; shown wherever the nodes are.")
@pass_session
def hold(session: Session, nodes: str, reason: str) -> None:
    """Keep everything off nodes: neither lit, put out, repaired nor told of to Slurm.

    What Slurm asks of them meanwhile waits, and is done after `lamplighter release`. A call to the cloud
    that is under way ends first.
    """
    chosen = members(session, nodes)
    now, who = time.time_ns(), operator()
    store = session.store()
    try:
        with store.begin() as connection:
            held = [Hold(node, reason, who, now) for node in chosen]
            place(connection, session.settings.cluster, held)
    finally:
        store.dispose()
    names = hostlist.collect_hostlist(chosen)
    print_line(f"on hold: {names}")
    told = (by_operator(session, "hold.placed", n, f"{n} is on hold", reason) for n in chosen)
    tell(session, *told)


@click.command
@click.argument("nodes", metavar="GROUP|HOSTLIST")
@pass_session
def release(session: Session, nodes: str) -> None:
    """End a hold: what waits for the nodes is done, within half a minute."""
    chosen = members(session, nodes)
    store = session.store()
    try:
        with store.begin() as connection:
            reasons = all_holds(connection, session.settings.cluster)
            lifted = lift(connection, session.settings.cluster, chosen)
    finally:
        store.dispose()
    if not lifted:
        click.echo("lamplighter: none of them is on hold", err=True)
        sys.exit(1)
    print_line(f"released: {hostlist.collect_hostlist(lifted)}")
    told = (
        by_operator(session, "hold.released", n, f"{n} is on hold no more", reasons[n].reason)
        for n in lifted
    )
    tell(session, *told)


def print_holds(holds: list[Hold]) -> None:
    """For people; nothing where there are none."""
    if not holds:
        return
    now = time.time_ns()
    alike: dict[tuple[str, str], list[Hold]] = {}
    for one in holds:
        alike.setdefault((one.reason, one.by), []).append(one)
    print_line("")
    print_table(
        ("on hold", "reason", "by", "for"),
        [
            (
                hostlist.collect_hostlist([h.node for h in those]),
                reason,
                who,
                duration(now - min(h.since for h in those)),
            )
            for (reason, who), those in alike.items()
        ],
    )
