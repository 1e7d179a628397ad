"""The forms that place and lift holds in the user's name."""

from collections.abc import Mapping

import click

from ops.cli.options import LONGEST_REASON
from ops.cli.session import Session
from ops.nodes.holds import lift_holds, place_holds, resolve_held
from ops.nodes.submit import resolve_nodes


class HoldForms:
    """Places and lifts holds."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def act(self, user: str, fields: Mapping[str, str]) -> None:
        """Do what a form says: `do` is `hold` or `release`, `nodes` is a group or a hostlist.

        Raises:
            ValueError: the form is wrong; the message says how.
            BrokerError: it is done, but not recorded in the audit.
        """
        by = f"{user} (console)"
        resolve = resolve_held if fields.get("do") == "release" else resolve_nodes
        try:
            chosen = resolve(self._session, fields.get("nodes", ""))
        except click.BadParameter as error:
            raise ValueError(f"Nodes: {error.message}") from None
        if fields.get("do") == "release":
            if not lift_holds(self._session, chosen, by):
                raise ValueError("None of these nodes is on hold.")
        elif fields.get("do") == "hold":
            reason = fields.get("reason", "")[:LONGEST_REASON]
            if not reason:
                raise ValueError("A hold needs a reason; it is shown wherever the nodes are shown.")
            place_holds(self._session, chosen, reason, by)
        else:
            raise ValueError("Choose an action: hold or release.")
