"""`lamplighter drift`: what is not as Slurm wants it, as of the newest snapshot; and its repair."""

import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import click
import sqlalchemy as sa

from ops.cli.errors import StoreMissingError
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import duration, print_json, print_line, print_table
from producers.message import Batch
from producers.outbox import deliver
from workers.broker import outgoing
from workers.config.settings import Settings
from workers.errors import BrokerError
from workers.resync import drift_memory
from workers.resync.drift import Drift, RepairStep
from workers.resync.plan import (
    AT_ONCE,
    Found,
    asked_for,
    plan,
    remembered,
    requests,
)
from workers.resync.survey import Survey, survey
from workers.store import snapshots

_PUBLISH_SECONDS = 60.0
_NS = 1_000_000_000
_WORDS = {
    RepairStep.RESUME: "is lit again",
    RepairStep.SUSPEND: "is put out",
    RepairStep.DELETE: "is deleted",
    RepairStep.WAIT: "waits: too brief, or asked for lately",
    RepairStep.REPORT: "needs a person",
    RepairStep.HELD: "on hold",
    RepairStep.NOTHING: "nothing",
}


@click.command
@click.option("--fix", is_flag=True, help="Ask for the repairs now, without waiting for the grace.")
@click.option("--dry-run", is_flag=True, help="With --fix: only say what would be asked.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@pass_session
def drift(session: Session, *, fix: bool, dry_run: bool, as_json: bool) -> None:
    """Print what is not as Slurm wants it; exit 1 if something is.

    A repair is asked for with the snapshot's generation: whatever Slurm has asked since wins.
    """
    settings, now = session.settings, time.time_ns()
    with session.reading("state") as connection:
        age = _age(connection, settings)
        snapshot = snapshots.newest(connection, settings.cluster)
        if snapshot is None:
            raise StoreMissingError("no snapshot has come yet: run lamplighter worker snapshot")
        seen = survey(connection, settings, snapshot)
        known = drift_memory.recall(connection, settings.cluster)
    stale = age > settings.stale_after
    found = plan(seen, known, AT_ONCE if fix else settings.resync, now)
    wanted = asked_for(found) if fix and not stale else []
    if as_json:
        print_json(_as_json(seen, found, age, now))
    else:
        _print(seen, found, age, now)
    if stale:
        raise StoreMissingError(
            f"the newest snapshot is {duration(round(age * _NS))} old: nothing is repaired by it"
        )
    if wanted and not dry_run:
        _ask(session, seen, wanted)
        memories = remembered(seen, known, found, wanted, now)
        store = session.store()
        try:
            with store.begin() as connection:
                drift_memory.remember(connection, settings.cluster, memories)
        finally:
            store.dispose()
    if wanted and not as_json:
        asked = "would be asked for" if dry_run else "asked for; see lamplighter audit list"
        print_line(f"{len(wanted)} repairs {asked}")
    sys.exit(1 if found and not (wanted and len(wanted) == len(found) and not dry_run) else 0)


def _age(connection: sa.Connection, settings: Settings) -> float:
    newest = snapshots.received(connection, settings.cluster)
    return newest.age if newest else 0.0


def _ask(session: Session, seen: Survey, wanted: Sequence[Found]) -> None:
    origin = socket.gethostname() or "unknown"
    asked = requests(wanted, seen.snapshot, session.settings.slurm, origin, f"by {operator()}")
    batch = Batch([outgoing.command(one) for one in asked], lambda: None)
    sent = deliver(session.settings.hook, "lamplighter drift", [batch], _PUBLISH_SECONDS)
    if sent.problem is not None:
        raise BrokerError(sent.problem)


def _print(seen: Survey, found: Sequence[Found], age: float, now: int) -> None:
    count = len(seen.snapshot.nodes)
    print_line(
        f"snapshot of {count} nodes, {duration(round(age * _NS))} old, of {seen.snapshot.origin}"
    )
    for cloud in seen.unseen:
        print_line(f"cloud {cloud} was not listed since: its nodes are left alone")
    for cloud in seen.doubted:
        print_line(f"cloud {cloud} lists less than half of its nodes: what is missing is doubted")
    if not found:
        print_line("no drift")
        return
    print_table(
        ("node or server", "drift", "since", "Slurm", "wanted", "cloud", "what is done"),
        [
            (
                one.subject,
                str(one.action.drift),
                duration(now - one.memory.since),
                *_three(one),
                _done(one),
            )
            for one in found
        ],
    )


def _three(one: Found) -> tuple[str | None, str | None, str | None]:
    """What Slurm says, what is wanted, what the cloud shows."""
    if one.place is None:
        return None, None, f"{one.cloud}: {one.server.status}" if one.server else one.cloud
    known, slurm, server = one.place.known, one.place.slurm, one.place.server
    return (
        slurm.state if slurm else None,
        str(known.desired) if known.desired else None,
        server.status if server else str(known.seen),
    )


def _done(one: Found) -> str:
    if one.action.step is RepairStep.HELD and one.place is not None and one.place.hold is not None:
        return f"on hold: {one.place.hold.reason}"
    return _WORDS[one.action.step]


def _as_json(seen: Survey, found: Sequence[Found], age: float, now: int) -> dict[str, Any]:
    return {
        "snapshot": {
            "generation": seen.snapshot.generation,
            "origin": seen.snapshot.origin,
            "age_seconds": age,
            "nodes": len(seen.snapshot.nodes),
        },
        "not_listed": seen.unseen,
        "doubted": seen.doubted,
        "drifts": [
            {
                "subject": one.subject,
                "drift": str(one.action.drift),
                "step": str(one.action.step),
                "seconds": (now - one.memory.since) / _NS,
                "asked": one.memory.repairs,
                "stray": one.action.drift is Drift.STRAY,
                **dict(zip(("slurm", "wanted", "cloud"), _three(one), strict=True)),
            }
            for one in found
        ],
    }
