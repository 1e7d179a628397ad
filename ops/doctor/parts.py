"""Checks the parts that other hosts may run: broker, stores, token service, clouds."""

import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

import requests
import sqlalchemy as sa

from ops.cli.errors import STORE_ERRORS, describe_error
from ops.cli.session import Session, StoreKind
from ops.site import findings
from ops.site.findings import Finding, away, fixable, note, wrong
from ops.site.kinds import Kind
from ops.site.management import ManagementApi
from ops.site.status import store_findings
from ops.site.tokens import report_of
from ops.site.topology_check import differences, missing
from producers.disk import user_name
from producers.settings import ConfigError
from schemas.roles import Role
from workers.broker.blocking import server_version
from workers.broker.depths import QueueDepth
from workers.broker.topology import NOTIFY_QUEUE, topology
from workers.config.settings import Settings
from workers.errors import BrokerError, TokenError
from workers.process.foreign import bounded_session
from workers.process.retry_after import http_date
from workers.store.database import FIELDS, NOT_ALLOWED, versions
from workers.store.overview import node_powers

# The oldest version on which nothing is lost: at-least-once dead-lettering began there.
_OLDEST_BROKER = (3, 10)
# The roles that may read all tables.
_READERS = frozenset({Role.OPERATOR, Role.READER, Role.CONSOLE})
# Clocks that differ by more than this, in seconds, make generations implausible one day.
CLOCKS = 5.0


def of_broker(session: Session) -> Iterator[Finding]:
    """Whether the broker answers this host's user, and has all queues with their workers."""
    yield from findings.of_roles(session.settings.broker)
    try:
        with session.channel() as channel:
            yield from of_broker_version(server_version(channel))
            absent = missing(channel, topology(notify_keys=session.settings.notify_keys))
            # `of_queues` names the queues
            yield from of_differences([one for one in absent if one.startswith("exchange ")])
        depths = session.proven_depths()
        yield from findings.of_queues(depths)
        yield from of_notify(session.settings, depths)
        yield from _of_management(session, absent)
    except ConfigError as error:  # of a file that its settings name
        yield wrong(Kind.BROKER, str(error), "correct that setting, or the file that it names")
    except BrokerError as error:
        remedy = f"start RabbitMQ, or correct {session.settings.broker.field}"
        yield away(Kind.BROKER, describe_error(error), remedy)


def of_notify(settings: Settings, depths: Sequence[QueueDepth]) -> Iterator[Finding]:
    """Webhooks without a worker: until one has bound the queue, no event waits there, either. Pure."""
    idle = any(one.name == NOTIFY_QUEUE and not one.consumers and not one.ready for one in depths)
    if settings.webhooks and idle:
        names = ", ".join(webhook.name for webhook in settings.webhooks)
        words = f"notify.webhook: no notify worker runs, which sends events to {names}"
        yield wrong(Kind.NOTIFY_UNREAD, words, findings.START_NOTIFY)


def of_broker_version(version: str) -> Iterator[Finding]:
    """A broker that is older than what we support. Pure."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < _OLDEST_BROKER:
        words = f"RabbitMQ {version} is too old: it may lose requests when their retry time ends"
        yield wrong(Kind.BROKER_VERSION, words, "upgrade RabbitMQ to 3.10 or later")


def of_differences(lines: Sequence[str]) -> Iterator[Finding]:
    """Differences from the topology, as ops.site.topology_check writes them. Pure."""
    for one in lines:
        if one.endswith(": missing"):
            yield fixable(Kind.TOPOLOGY, one, *findings.APPLY_TOPOLOGY)
        else:
            yield wrong(
                Kind.TOPOLOGY, one, "see docs/broker-cluster.md, and lamplighter topology check"
            )


def _of_management(session: Session, absent: Collection[str]) -> Iterator[Finding]:
    """What only the management API shows: arguments and members of queues, and the broker's clock.

    Not again what is `absent`.

    Of the roles, only `setup` may use it.
    """
    settings, users = session.settings, session.settings.broker.users
    unknown = "arguments and members of queues, and the broker's clock, were not checked"
    if not settings.management_urls:
        remedy = "write broker.management_url, if the broker has its plugin rabbitmq_management"
        yield note(Kind.MANAGEMENT_UNKNOWN, unknown, remedy)
        return
    if users is not None:
        if not os.access(users.secret_file(Role.SETUP), os.R_OK):
            words = f"{unknown}: {user_name()} may not read the password of the role {Role.SETUP}"
            yield note(Kind.MANAGEMENT_UNKNOWN, words, "run this as root")
            return
        settings = session.of_role(Role.SETUP).settings
    required = topology(notify_keys=settings.notify_keys)
    with ManagementApi(settings.broker, settings.management_urls) as api:
        found = differences(api, required)
    yield from of_differences([one for one in found if one not in absent])
    with suppress(requests.RequestException), bounded_session(settings.broker.ca_file, 5.0) as http:
        # any answer has a date, also one that refuses
        answer = http.get(settings.management_urls[0], timeout=5.0, allow_redirects=False)
        theirs = http_date(answer.headers.get("Date", ""))
        if theirs is not None:
            yield from of_clock("the broker", theirs.timestamp(), time.time())


def of_migrations(session: Session, kind: StoreKind) -> Iterator[Finding]:
    """Whether the tables of a store have the version of this program."""
    try:
        with session.reading(kind) as connection:
            found, newest = versions(connection, kind)
    except STORE_ERRORS:
        return  # `of_store` says it
    if found == newest:
        return
    words = (
        f"{FIELDS[kind]}: its tables have version {found or 'none'}, this program's are {newest}"
    )
    if found is not None and found < newest:
        remedy = (
            "restart the workers: the first one migrates the tables; with a user for each role, run "
            "lamplighter database roles --apply before"
        )
    else:
        remedy = "install the newer version of Lamplighter here too, or restore a backup"
    yield wrong(Kind.STORE_VERSION, words, remedy)


def of_store(session: Session) -> Iterator[Finding]:
    """Whether the state store can be read, what it holds, and its server's clock."""
    try:
        with session.reading("state") as connection:
            powers = node_powers(connection, session.settings.cluster)
            yield from store_findings(connection, session.settings, powers)
            if connection.dialect.name == "postgresql":
                theirs = float(
                    connection.execute(sa.text("select extract(epoch from now())")).scalar_one()
                )
                yield from of_clock("the database", theirs, time.time())
        yield from _of_database_user(session)
    except STORE_ERRORS as error:
        role = session.settings.broker.role
        if _is_refused(error) and role not in _READERS:
            words = f"the store was not checked: the role {role} may not"
            remedy = "run this where the role operator or reader has its password"
            yield note(Kind.STORE_UNKNOWN, words, remedy)
        else:
            remedy = "start the database and the workers, or correct store.url and store.audit_url"
            yield away(Kind.STORE, describe_error(error), remedy)


def _is_refused(error: Exception) -> bool:
    """Whether PostgreSQL has answered, and allows this role only a part."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == NOT_ALLOWED


def _of_database_user(session: Session) -> Iterator[Finding]:
    """Whether this command's user may do what only the tables' owner should."""
    with session.reading("audit") as connection:
        if connection.dialect.name != "postgresql":
            return
        if connection.execute(
            sa.text("select has_table_privilege('audit', 'delete')")
        ).scalar_one():
            words = (
                f"store.audit_url: user {connection.engine.url.username} may delete audit records"
            )
            remedy = "lamplighter database roles gives each role its own user (docs/security.md)"
            yield note(Kind.DATABASE, words, remedy)


def of_clock(whose: str, theirs: float, ours: float) -> Iterator[Finding]:
    """Two clocks that differ; seconds since the epoch."""
    if abs(theirs - ours) > CLOCKS:
        words = (
            f"this host's clock and that of {whose} differ by {abs(theirs - ours):.0f} s: requests and "
            "logins may count as older or newer than they are"
        )
        yield wrong(Kind.CLOCK, words, "synchronise both (chrony or systemd-timesyncd)")


def of_logins(session: Session, settings: Settings) -> Iterator[Finding]:
    """The state of each cloud's login, as the token service reports it; no token is fetched."""
    try:
        with session.token_client() as client:
            for cloud in settings.clouds:
                report = report_of(client, cloud)
                if report.trouble:
                    remedy = report.remedy or f"lamplighter tokens test {cloud}"
                    yield wrong(Kind.LOGIN, f"clouds.{cloud}: {report.trouble}", remedy)
    except (TokenError, BrokerError) as error:
        remedy = "systemctl start lamplighter-tokens, or without systemd lamplighter worker tokens"
        yield away(Kind.TOKENS, describe_error(error), remedy)
