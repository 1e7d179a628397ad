"""Checks the parts that other hosts may run: broker, stores, token service, clouds."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import requests
import sqlalchemy as sa

from ops.cli.errors import STORE_ERRORS, describe_error
from ops.cli.session import Session
from ops.doctor.host import wrong
from ops.site import findings
from ops.site.findings import Finding, Severity
from ops.site.management import ManagementApi
from ops.site.status import store_findings
from ops.site.topology_check import differences
from schemas.roles import Role
from workers.broker.depths import queue_depths
from workers.broker.topology import topology
from workers.config.settings import Settings
from workers.errors import BrokerError, TokenError
from workers.process.foreign import bounded_session
from workers.process.retry_after import http_date

# Clocks that differ by more than this, in seconds, make generations implausible one day.
_CLOCKS = 5.0


def of_broker(session: Session) -> Iterator[Finding]:
    """Whether the broker answers this host's user, and has all queues with their workers."""
    yield from findings.of_roles(session.settings.broker)
    try:
        with session.channel() as channel:
            depths = queue_depths(channel)
            session.prove_health(depths)
            yield from findings.of_queues(depths)
        yield from _of_management(session)
    except BrokerError as error:
        yield Finding(Severity.AWAY, "broker", describe_error(error))


def _of_management(session: Session) -> Iterator[Finding]:
    """What only the management API shows: arguments and members of queues, and the broker's clock.

    Of the roles, only `setup` may use it.
    """
    settings, users = session.settings, session.settings.broker.users
    if not settings.management_urls:
        return
    if users is not None:
        if not os.access(users.secret_file(Role.SETUP), os.R_OK):
            return
        settings = session.of_role(Role.SETUP).settings
    required = topology(notify_keys=settings.notify_keys)
    remedy = (
        "lamplighter topology check shows all; docs/broker-cluster.md says how to change a queue"
    )
    with ManagementApi(settings.broker, settings.management_urls) as api:
        for one in differences(api, required):
            yield wrong("topology", one, remedy)
    with suppress(requests.RequestException), bounded_session(settings.broker.ca_file, 5.0) as http:
        # any answer has a date, also one that refuses
        answer = http.get(settings.management_urls[0], timeout=5.0, allow_redirects=False)
        theirs = http_date(answer.headers.get("Date", ""))
        if theirs is not None:
            yield from of_clock("the broker", theirs.timestamp(), time.time())


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
