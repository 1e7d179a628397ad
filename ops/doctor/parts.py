"""Checks the parts that other hosts may run: broker, stores, token service, clouds."""

import time
from collections.abc import Iterator

import sqlalchemy as sa

from ops.cli.errors import STORE_ERRORS, describe_error
from ops.cli.session import Session
from ops.doctor.host import wrong
from ops.site import findings
from ops.site.findings import Finding, Severity
from ops.site.status import store_findings
from workers.broker.depths import queue_depths
from workers.config.settings import Settings
from workers.errors import BrokerError, TokenError

# Clocks that differ by more than this, in seconds, make generations implausible one day.
_CLOCKS = 5.0


def of_broker(session: Session) -> Iterator[Finding]:
    """Whether the broker answers this host's user, and has all queues with their workers."""
    yield from findings.of_roles(session.settings.broker)
    try:
        with session.channel() as channel:
            yield from findings.of_queues(queue_depths(channel))
    except BrokerError as error:
        yield Finding(Severity.AWAY, "broker", describe_error(error))


def of_store(session: Session) -> Iterator[Finding]:
    """Whether the state store can be read, what it holds, and its server's clock."""
    try:
        with session.reading("state") as connection:
            yield from store_findings(connection, session.settings)
            if connection.dialect.name == "postgresql":
                theirs = float(
                    connection.execute(sa.text("select extract(epoch from now())")).scalar_one()
                )
                yield from of_clock("the database", theirs, time.time())
    except STORE_ERRORS as error:
        yield Finding(Severity.AWAY, "store", describe_error(error))


def of_clock(whose: str, theirs: float, ours: float) -> Iterator[Finding]:
    """Two clocks that differ; seconds since the epoch."""
    if abs(theirs - ours) > _CLOCKS:
        words = f"this host's clock and that of {whose} differ by {abs(theirs - ours):.0f} s"
        yield wrong("clock", words, "synchronise both (chrony or systemd-timesyncd)")


def of_logins(session: Session, settings: Settings) -> Iterator[Finding]:
    """The state of each cloud's login, as the token service reports it; no token is fetched."""
    try:
        with session.token_client() as client:
            for cloud in settings.clouds:
                report = client.report(cloud)
                if report.trouble:
                    remedy = report.remedy or f"lamplighter tokens test {cloud}"
                    yield wrong("login", f"clouds.{cloud}: {report.trouble}", remedy)
    except (TokenError, BrokerError) as error:
        yield Finding(Severity.AWAY, "tokens", describe_error(error))
