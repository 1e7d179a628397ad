"""Tells the audit, and who else listens, what an operator has done."""

import time

from ops.cli.session import Session, operator
from producers import hook
from producers.message import Batch
from schemas.events import Notice
from workers.broker import outgoing
from workers.errors import BrokerError

_PUBLISH_SECONDS = 20.0


def tell(session: Session, *notices: Notice) -> None:
    """Publish notices of something that is done already.

    Raises:
        BrokerError: it is done, but nobody was told.
    """
    batches = iter([Batch([outgoing.event(notice) for notice in notices], lambda: None)])
    problem = hook.send(session.settings.hook, batches, _PUBLISH_SECONDS)
    if problem is not None:
        raise BrokerError(f"done, but the audit could not be told: {problem}")


def by_operator(session: Session, name: str, subject: str, message: str, reason: str) -> Notice:
    """A notice of something that the operator has just done."""
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
