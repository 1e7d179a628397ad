"""`lamplighter drift`: differences from what Slurm wants, by the newest snapshot, and their repair."""

import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from msgspec.structs import replace

from ops.cli.errors import EXIT_AWAY, EXIT_FOUND, StoreMissingError
from ops.cli.options import json_option
from ops.cli.session import Session, operator, pass_session
from ops.cli.terminal import Columns, duration, duration_of, print_json, print_line, print_rows
from producers.message import Batch
from producers.outbox import deliver
from workers.broker import outgoing
from workers.errors import BrokerError
from workers.resync import drift_memory
from workers.resync.drift import Drift, RepairStep
from workers.resync.plan import FoundDrift, needing_repair, next_memories, plan, repair_requests
from workers.resync.slurm_conf import ConfDifference, conf_differences
from workers.resync.survey import Survey, survey
from workers.store import snapshots

_PUBLISH_SECONDS = 60.0
# The power worker lists each cloud for a new snapshot: how long that is waited for, from the snapshot on.
_LISTING_SECONDS = 10.0
_LOOK_AGAIN = 0.3
_NS = 1_000_000_000
_REPAIRS = {
    RepairStep.RESUME: "power on again",
    RepairStep.SUSPEND: "power off",
    RepairStep.DELETE: "delete, once no job can be on it",
    RepairStep.WAIT: "wait: too recent, or requested lately",
    RepairStep.REPORT: "an operator must act",
    RepairStep.HELD: "on hold",
    RepairStep.NOTHING: "nothing",
}


@click.command
@click.option(
    "--fix", is_flag=True, help="Request the repairs now, without waiting for the grace period."
)
@click.option("--dry-run", is_flag=True, help="With --fix: only show what would be requested.")
@json_option()
@pass_session
def drift(session: Session, *, fix: bool, dry_run: bool, as_json: bool) -> None:
    """Show, and repair, differences from what Slurm wants.

    Exit code 1: there are differences, or slurm.conf and lamplighter.toml differ. Exit code 3: a cloud was
    not listed within 10 s of the snapshot, or its listing is doubted. A repair has the generation of the snapshot,
    so that every newer request of Slurm takes precedence over it.
    """
    settings = session.settings
    received, seen, known = _look(session)
    patience = min(settings.slurm.snapshot_interval / 2, _LISTING_SECONDS)
    end = time.monotonic() + patience - received.age
    while seen.unseen and received.age >= 0 and time.monotonic() < end:
        time.sleep(_LOOK_AGAIN)
        received, seen, known = _look(session)
    now, age = time.time_ns(), received.age
    differences = conf_differences(settings, seen.snapshot)
    stale = not received.is_fresh(settings.stale_after)
    # who requests repairs has checked the nodes
    resync = replace(settings.resync, grace=0.0, repeat_after=0.0) if fix else settings.resync
    found = plan(seen, known, resync, now)
    wanted = needing_repair(found) if fix and not stale else []
    if as_json:
        conf = [asdict(one) for one in differences]
        print_json({**_as_json(seen, found, age, now), "slurm_conf": conf})
    else:
        _print(seen, found, differences, age, now, deletes=settings.resync.delete_strays)
    if stale:
        raise StoreMissingError(
            f"the newest snapshot is {duration_of(age)} old: no repair is requested"
        )
    if wanted and not dry_run:
        _request(session, seen, wanted)
        memories = next_memories(seen, known, found, wanted, now)
        with session.writing() as connection:
            drift_memory.remember(connection, settings.cluster, memories)
    if wanted and not as_json:
        requested = "would be requested" if dry_run else "requested; see lamplighter audit list"
        print_line(f"{len(wanted)} repairs {requested}")
    repaired = len(wanted) == len(found) and not dry_run
    if seen.unseen or seen.doubted:
        sys.exit(EXIT_AWAY)
    wrong = any(one.wrong for one in differences)
    sys.exit(EXIT_FOUND if wrong or (found and not repaired) else 0)


def _look(
    session: Session,
) -> tuple[snapshots.SnapshotAge, Survey, Mapping[str, drift_memory.DriftMemory]]:
    """The newest snapshot's age, what is known of all nodes since, and the drifts known so far."""
    cluster = session.settings.cluster
    with session.reading("state") as connection:
        received = snapshots.snapshot_age(connection, cluster)
        snapshot = snapshots.newest(connection, cluster)
        if received is None or snapshot is None:
            raise StoreMissingError("there is no snapshot yet: run lamplighter worker snapshot")
        seen = survey(connection, session.settings, snapshot)
        return received, seen, drift_memory.recall(connection, cluster)


def _request(session: Session, seen: Survey, wanted: Sequence[FoundDrift]) -> None:
    origin = socket.gethostname() or "unknown"
    commands = repair_requests(
        wanted, seen.snapshot, session.settings.slurm, origin, f"by {operator()}"
    )
    batch = Batch([outgoing.command(command) for command in commands], lambda: None)
    sent = deliver(session.settings.hook, "lamplighter drift", [batch], _PUBLISH_SECONDS)
    if sent.problem is not None:
        raise BrokerError(sent.problem)


def _print(  # noqa: PLR0913 - each is a part of the page
    seen: Survey,
    found: Sequence[FoundDrift],
    differences: Sequence[ConfDifference],
    age: float,
    now: int,
    *,
    deletes: bool,
) -> None:
    count = len(seen.snapshot.nodes)
    print_line(f"snapshot of {count} nodes, {duration_of(age)} old, from {seen.snapshot.origin}")
    for cloud in seen.unseen:
        print_line(f"cloud {cloud} was not listed since then: its nodes are skipped")
    for cloud in seen.doubted:
        print_line(f"cloud {cloud} lists fewer than half of its nodes: missing nodes are skipped")
    for difference in differences:
        print_line(difference.text)
    columns: Columns[FoundDrift] = {
        "node or server": lambda one: one.subject,
        "drift": lambda one: one.action.drift,
        "since": lambda one: duration(now - one.memory.since),
        "Slurm": lambda one: _states(one)["slurm"],
        "desired": lambda one: _states(one)["desired"],
        "cloud": lambda one: _states(one)["cloud"],
        "repair": lambda one: _repair(one, deletes=deletes),
    }
    but = any(one.wrong for one in differences) or seen.unseen or seen.doubted
    print_rows(columns, found, empty="no drift of nodes, but see above" if but else "no drift")


def _states(one: FoundDrift) -> dict[str, str | None]:
    """The state in Slurm, the desired state, and the state in the cloud."""
    if one.place is None:
        cloud = f"{one.cloud}: {one.server.status}" if one.server else one.cloud
        return {"slurm": None, "desired": None, "cloud": cloud}
    known, slurm = one.place.known, one.place.slurm
    return {
        "slurm": slurm.state if slurm else None,
        "desired": known.desired and str(known.desired),
        "cloud": one.place.cloud_state,
    }


def _repair(one: FoundDrift, *, deletes: bool) -> str:
    if one.action.step is RepairStep.REPORT and one.place is None and deletes:
        return "wait: deleted after the grace period, once no job can be on it"
    if one.action.step is RepairStep.HELD and one.place is not None and one.place.hold is not None:
        return f"on hold: {one.place.hold.reason}"
    return _REPAIRS[one.action.step]


def _as_json(seen: Survey, found: Sequence[FoundDrift], age: float, now: int) -> dict[str, Any]:
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
                "requests": one.memory.repairs,
                "stray": one.action.drift is Drift.STRAY,
                **_states(one),
            }
            for one in found
        ],
    }
