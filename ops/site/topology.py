"""`lamplighter topology`: what the broker holds, and what it should."""

import sys
from dataclasses import asdict

import click

from ops.cli.session import Session, pass_session
from ops.cli.terminal import print_json, print_line, print_table
from ops.site.topology_check import differences, missing
from workers.broker.declare import declare
from workers.broker.topology import topology as wanted


@click.group
def topology() -> None:
    """The broker's exchanges, queues and bindings."""


@topology.command
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(*, as_json: bool) -> None:
    """Print what should be there."""
    all_ = wanted()
    if as_json:
        print_json(asdict(all_))
        return
    print_table(("exchange", "type"), [(e.name, e.type) for e in all_.exchanges])
    print_line("")
    print_table(
        ("queue", "arguments"),
        [(q.name, " ".join(f"{k}={v}" for k, v in q.arguments.items())) for q in all_.queues],
    )
    print_line("")
    print_table(
        ("from exchange", "key", "to queue"),
        [(b.exchange, b.key or '""', b.queue) for b in all_.bindings],
    )


@topology.command
@pass_session
def apply(session: Session) -> None:
    """Declare what is missing; what is there stays as it is."""
    all_ = wanted(notify_keys=session.settings.notify_keys)
    with session.channel() as channel:
        declare(channel, all_)
    print_line(
        f"declared {len(all_.exchanges)} exchanges, {len(all_.queues)} queues, "
        f"{len(all_.bindings)} bindings at {session.settings.broker.shown}"
    )


@topology.command
@pass_session
def check(session: Session) -> None:
    """Compare the broker with what should be there; exit 1 where they differ.

    With broker.management_url everything is compared; without, only whether exchanges and queues
    exist, for AMQP tells no more without changing anything.
    """
    settings = session.settings
    all_ = wanted(notify_keys=settings.notify_keys)
    if settings.management_url is None:
        with session.channel() as channel:
            found = missing(channel, all_)
        print_line(
            "existence only: set broker.management_url to compare types, arguments and bindings"
        )
    else:
        found = differences(settings.broker, settings.management_url, all_)
    for line in found:
        print_line(line)
    print_line(f"{len(found)} differences" if found else "all is in place")
    sys.exit(1 if found else 0)
