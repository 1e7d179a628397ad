"""`lamplighter topology`: shows, creates and checks the broker's exchanges, queues and bindings."""

import sys
from dataclasses import asdict

import click

from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import plural, print_json, print_line, print_table
from ops.site.broker_users import admin_option, login_of
from ops.site.management import ManagementApi
from ops.site.topology_check import differences, missing, user_differences
from schemas.roles import Role
from workers.broker.declare import declare
from workers.broker.depths import queue_depths
from workers.broker.topology import topology as wanted


@click.group
def topology() -> None:
    """Show, create and check the broker's exchanges, queues and bindings."""


@topology.command
@json_option()
def show(*, as_json: bool) -> None:
    """Show what the broker must have."""
    required = wanted()
    if as_json:
        print_json(asdict(required))
        return
    print_table(("exchange", "type"), [(e.name, e.type) for e in required.exchanges])
    print_line("")
    print_table(
        ("queue", "arguments"),
        [(q.name, " ".join(f"{k}={v}" for k, v in q.arguments.items())) for q in required.queues],
    )
    print_line("")
    print_table(
        ("from exchange", "key", "to queue"),
        [(b.exchange, b.key or '""', b.queue) for b in required.bindings],
    )


@topology.command
@pass_session
def apply(session: Session) -> None:
    """Create what is missing. Nothing that exists is changed.

    If each role has a user of its own, this command needs that of role `setup`.
    """
    session = session.of_role(Role.SETUP)
    required = wanted(notify_keys=session.settings.notify_keys)
    with session.channel() as channel:
        declare(channel, required)
    print_line(
        f"declared {len(required.exchanges)} exchanges, {len(required.queues)} queues, "
        f"{len(required.bindings)} bindings at {session.settings.broker.shown}"
    )


@topology.command(short_help="Compare the broker with what it must have.")
@admin_option
@pass_session
def check(session: Session, admin: str | None) -> None:
    """Compare the broker with what it must have.

    Exit code 1: there are differences. Without broker.management_url, only the existence of
    exchanges and queues is checked, and the quorum of those that no worker consumes, because AMQP cannot
    read more. Users and permissions are compared with --admin.
    """
    setup = session.of_role(Role.SETUP)
    settings = setup.settings
    required = wanted(notify_keys=settings.notify_keys)
    if not settings.management_urls:
        with setup.channel() as channel:
            found = missing(channel, required)
            depths = queue_depths(channel)
        print_line(
            "checked existence only: set broker.management_url to compare types, arguments, bindings "
            "and nodes"
        )
        setup.prove_health(depths)
    else:
        with ManagementApi(settings.broker, settings.management_urls, login_of(admin)) as api:
            found = differences(api, required)
            if settings.broker.users is not None and admin is not None:
                found += user_differences(api, settings.broker.users, required)
    if settings.broker.users is not None and not (admin and settings.management_urls):
        print_line(
            "users and permissions were not compared: that needs the management API, --admin"
        )
    for line in found:
        print_line(line)
    print_line(plural(len(found), "difference") if found else "no differences")
    sys.exit(1 if found else 0)
