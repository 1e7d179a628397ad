"""Publishes what an operator did, for the audit log and other receivers of events."""

import time
from collections.abc import Mapping

from ops.cli.session import Session, operator
from producers import hook
from producers.message import Batch
from schemas.notices import Notice
from workers.broker import outgoing
from workers.errors import BrokerError

_PUBLISH_SECONDS = 20.0


def publish(session: Session, *notices: Notice) -> None:
    """Publish notices of an action that is done; BrokerError if the action was not recorded."""
    batches = iter([Batch([outgoing.event(notice) for notice in notices], lambda: None)])
    problem = hook.send(session.settings.hook, batches, _PUBLISH_SECONDS)
    if problem is not None:
        raise BrokerError(f"done, but not recorded in the audit log: {problem}")


def publish_holds(session: Session, name: str, state: str, reasons: Mapping[str, str]) -> None:
    """Publish that holds were placed or released; raises as `publish` does.

    Args:
        session: whose operator did it.
        name: the name of the notice.
        state: what the nodes are now, in words.
        reasons: the reason of the hold of each node.
    """
    now = time.time_ns()
    notices = (
        Notice(
            name=name,
            cluster=session.settings.cluster,
            subject=node,
            key=str(now),
            time=now,
            message=f"{node} {state}",
            remedy="none is needed",
            details={"by": operator(), "reason": reason},
        )
        for node, reason in reasons.items()
    )
    publish(session, *notices)
