"""The forms that place and lift holds in the user's name."""

from collections.abc import Mapping

import click

from ops.cli.options import LONGEST_REASON
from ops.cli.session import Session
from ops.nodes.holds import lift_holds, place_holds, resolve_held
from ops.nodes.submit import resolve_nodes
from schemas.fields import printable_line


def act_on_holds(session: Session, user: str, fields: Mapping[str, str]) -> None:
    """Do what a form says: `do` is `hold` or `release`, `nodes` is a group or a hostlist.

    Raises:
        ValueError: the form is wrong; the message says how.
        BrokerError: it is done, but not recorded in the audit.
    """
    by, do = f"{user} (console)", fields.get("do")
    resolve = resolve_held if do == "release" else resolve_nodes
    try:
        chosen = resolve(session, fields.get("nodes", ""))
    except click.BadParameter as error:
        raise ValueError(f"Nodes: {error.message}") from None
    if do == "release":
        if not lift_holds(session, chosen, by):
            raise ValueError("None of these nodes is on hold.")
    elif do == "hold":
        # PostgreSQL's texts hold no NUL
        reason = printable_line(fields.get("reason", ""))[:LONGEST_REASON]
        if not reason:
            raise ValueError("A hold needs a reason; it is shown wherever the nodes are shown.")
        place_holds(session, chosen, reason, by)
    else:
        raise ValueError("Choose an action: hold or release.")
