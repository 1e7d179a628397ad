"""Publishes what an operator did, for the audit log and other receivers of events."""

import time

from ops.cli.session import Session, operator
from producers import hook
from producers.message import Batch
from schemas.events import Notice
from workers.broker import outgoing
from workers.errors import BrokerError

_PUBLISH_SECONDS = 20.0


def publish(session: Session, *notices: Notice) -> None:
    """Publish notices of an action that is done already.

    Raises:
        BrokerError: the action is done, but the notice was not published.
    """
    batches = iter([Batch([outgoing.event(notice) for notice in notices], lambda: None)])
    problem = hook.send(session.settings.hook, batches, _PUBLISH_SECONDS)
    if problem is not None:
        raise BrokerError(f"done, but not recorded in the audit log: {problem}")


def operator_notice(session: Session, name: str, subject: str, message: str, reason: str) -> Notice:
    """A notice of an action that the operator has just done."""
    now = time.time_ns()
    return Notice(
        name=name,
        cluster=session.settings.cluster,
        subject=subject,
        key=str(now),
        time=now,
        message=message,
        remedy="none is needed",
        details={"by": operator(), "reason": reason},
    )
