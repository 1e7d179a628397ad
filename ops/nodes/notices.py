"""Publishes what an operator did, for the audit log and other receivers of events."""

import os
import time
from collections.abc import Mapping

from ops.cli.session import Session
from ops.cli.terminal import warn
from ops.nodes.submit import sent_by
from producers import hook
from producers.message import Batch
from producers.notices import SpooledNotices, messages
from schemas import ids
from schemas.notices import Notice
from workers.errors import BrokerError

_PUBLISH_SECONDS = 20.0


def publish(session: Session, *notices: Notice) -> None:
    """Spool and publish notices of an action that is done already.

    While the broker is unavailable, they stay in the hooks' spool; the relay or the next hook sends
    them.

    Raises:
        BrokerError: the action is done, but the notices were neither spooled nor published.
    """
    settings = session.settings.hook
    spooled = SpooledNotices(
        generation=time.time_ns(),
        correlation_id=ids.correlation_id(),
        bodies=tuple((one.id, one.to_envelope().to_json().decode()) for one in notices),
    )
    if os.geteuid() == 0 and not settings.spool.is_dir():
        # the hooks could not use a folder that root creates
        unsafe: str | None = f"hooks.spool: {settings.spool} does not exist"
        batches = iter([Batch(messages(spooled), lambda: None)])
        problem = hook.send(settings, batches, _PUBLISH_SECONDS)
    else:
        sent = hook.submit(settings, spooled, _PUBLISH_SECONDS)
        unsafe, problem = sent.unsafe, sent.open
    if problem is not None and unsafe is not None:
        raise BrokerError(f"done, but not recorded in the audit log: {problem}; and {unsafe}")
    if problem is not None:
        warn(
            f"done; the audit log records it later: the notice is in {settings.own_spool};"
            f" {sent_by(settings)}: {problem}"
        )


def publish_holds(
    session: Session, name: str, state: str, reasons: Mapping[str, str], by: str
) -> None:
    """Publish that holds were placed or released; raises as `publish` does.

    `name` is that of the notice, and `state` says what the nodes are now; `reasons` has the reason
    of each node's hold.
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
            details={"by": by, "reason": reason},
        )
        for node, reason in reasons.items()
    )
    publish(session, *notices)
