"""The commands `lamplighter drift`, `hold`, `release` and `snapshot`."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from threading import Timer
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.commands import Kind, parse_command
from schemas.envelope import parse
from schemas.notices import notice_from
from schemas.server import Server
from schemas.snapshot import PowerSaving, SlurmNode, Snapshot
from tests.testbed.installation import CLUSTER, ONE_GROUP, Installation
from tests.testbed.messages import CORRELATION
from workers.broker import topology
from workers.resync import drift_memory
from workers.resync.drift import Drift
from workers.resync.drift_memory import DriftMemory
from workers.store import group_images, snapshots
from workers.store.database import connect
from workers.store.group_images import GroupImage
from workers.store.snapshots import StoredListing
from workers.store.tables import nodes

if TYPE_CHECKING:
    from pathlib import Path

OUT = "IDLE+CLOUD+POWERED_DOWN"
BAKED = GroupImage("all", "id-7", "prepared", "node1", "request-7", 1, 1)
MORE = f"""
[resync]
grace = 3600.0
{ONE_GROUP}"""
MORE_CLOUDS = """
[clouds.two]
auth_url = "http://127.0.0.1:1/v3"
project_id = "p"
source = { type = "password", username = "u", password_command = ["true"] }
"""
TEMPLATE = """
strategy = "delete"
[groups.all.server]
image = "i"
flavor = "f"
networks = ["n"]
"""


@pytest.fixture
def site(run_dir: Path, broker_url: str) -> Installation:
    made = Installation(run_dir / "site", broker_url, more=MORE)
    for name in ("spool", "clock"):
        (made.folder / name).mkdir(mode=0o700)
    made.prepare()
    return made


def make_orphan(
    site: Installation,
    *,
    seconds_ago: float = 0.0,
    status: str = "ACTIVE",
    power: PowerSaving | None = None,
) -> int:
    """Make node1 run while all nodes are powered down for Slurm; returns the snapshot's generation.

    `status`: of node1's server; `power`: what slurm.conf says.
    """
    now = time.time_ns()
    nodes = tuple(SlurmNode(f"node{i}", OUT) for i in range(1, 4))
    servers = (Server("id-1", "node1", status), Server("id-2", "node2", "SHUTOFF"))
    engine = connect(site.settings.store.url)
    with engine.begin() as connection:
        whole = Snapshot(CLUSTER, now, CORRELATION, "host", nodes, power_saving=power)
        snapshots.keep_snapshot(connection, whole)
        snapshots.keep_listing(connection, CLUSTER, StoredListing("one", now, now + 1, servers))
        connection.exec_driver_sql(
            f"UPDATE snapshots SET received_at = received_at - {int(seconds_ago * 1000)}"  # noqa: S608 - a number
        )
    engine.dispose()
    return now


def test_drift_is_shown_and_repaired_by_hand(site: Installation) -> None:
    """Without waiting for the grace; a dry run requests nothing."""
    generation = make_orphan(site)
    shown = site.lamplighter("drift")
    assert shown.code == 1, shown.err
    (line,) = [line for line in shown.out.splitlines() if line.startswith("node1")]
    assert all(word in line for word in ("orphan", OUT, "ACTIVE", "wait"))

    dry = site.lamplighter("drift", "--fix", "--dry-run")
    assert (dry.code, "would be requested" in dry.out) == (1, True)
    assert site.depth(topology.SUSPEND_QUEUE) == 0
    fixed = site.lamplighter("drift", "--fix")
    assert (fixed.code, "1 repairs requested" in fixed.out) == (0, True)
    ((_, body),) = site.drain(topology.SUSPEND_QUEUE)
    requested = parse_command(body)
    assert (requested.kind, requested.node, requested.generation) == (
        Kind.SUSPEND,
        "node1",
        generation,
    )
    assert requested.note is not None
    assert requested.note.startswith("by ")

    (result,) = site.lamplighter("drift", "--json").lines
    (drift,) = result["drifts"]
    assert (drift["subject"], drift["drift"], drift["step"], drift["requests"]) == (
        "node1",
        "orphan",
        "wait",
        1,
    )


def test_what_is_said_of_strays_is_what_becomes_of_them_and_a_repair_forgets_none(
    site: Installation,
) -> None:
    """With `delete_strays`, they are deleted after their grace, and never while a job may be on them."""
    content = site.config.read_text().replace("[resync]", "[resync]\ndelete_strays = true")
    site.config.write_text(content + TEMPLATE)
    now = make_orphan(site)
    servers = tuple(
        Server(id_, node, status, cluster=CLUSTER, node=node)
        for id_, node, status in (
            ("id-1", "node1", "ACTIVE"),
            ("id-2", "node2", "ACTIVE"),
            ("id-3", "node2", "SHUTOFF"),
            ("id-4", "old", "ACTIVE"),
            ("id-5", "new", "ACTIVE"),
        )
    )
    known = {
        DriftMemory("id-3", Drift.SURPLUS, 1, 1, 1),
        DriftMemory("id-4", Drift.STRAY, 1, 1, 1),
        DriftMemory("id-5", Drift.STRAY, now),
    }
    engine = connect(site.settings.store.url)
    with engine.begin() as connection:
        snapshots.keep_listing(connection, CLUSTER, StoredListing("one", now, now + 1, servers))
        row = {"cluster": CLUSTER, "node": "node2", "desired": "down", "generation": 1}
        columns = {"observed_at": 1, "request_id": "r", "server_id": "id-2"}
        connection.execute(sa.insert(nodes), row | columns)
        drift_memory.remember(connection, CLUSTER, known)

    def said(*words: str) -> dict[str, str]:
        lines = site.lamplighter("drift", *words).out.splitlines()
        return {line[:4]: line for line in lines if line.startswith("id-")}

    for words in ((), ("--fix", "--dry-run"), ("--fix",)):
        shown = said(*words)
        assert sorted(shown) == ["id-3", "id-4", "id-5"]
        assert all("once no job can be on it" in line for line in shown.values()), shown
        assert words or "wait: deleted after the grace period" in shown["id-5"]
    with engine.begin() as connection:
        assert known <= set(drift_memory.recall(connection, CLUSTER).values())
    engine.dispose()


def test_a_wrong_difference_of_the_two_files_is_not_called_no_drift(site: Installation) -> None:
    make_orphan(site, status="SHUTOFF", power=PowerSaving(300, 60, 300))
    shown = site.lamplighter("drift")
    assert shown.code == 1, shown.err
    assert "ResumeTimeout is 300 s in slurm.conf" in shown.out
    assert "no drift of nodes, but see above" in shown.out


def test_a_cloud_that_was_not_looked_at_is_not_called_without_drift(site: Installation) -> None:
    site.config.write_text(site.config.read_text() + MORE_CLOUDS)
    make_orphan(site, seconds_ago=30, status="SHUTOFF")
    shown = site.lamplighter("drift")
    assert shown.code == 3, shown.err
    assert "cloud two was not listed since then: its nodes are skipped" in shown.out
    assert "no drift of nodes, but see above" in shown.out
    assert site.lamplighter("drift", "--json").code == 3


def test_the_listing_that_a_new_snapshot_asks_for_is_waited_for(site: Installation) -> None:
    """Between the two, a cloud that answers was called one that was not listed: exit code 3."""
    site.config.write_text(site.config.read_text() + MORE_CLOUDS)
    generation = make_orphan(site, status="SHUTOFF")
    listed = Timer(2, list_cloud, [site, StoredListing("two", generation, generation + 1, ())])
    listed.start()
    shown = site.lamplighter("drift")
    listed.join()
    assert (shown.code, "no drift" in shown.out) == (0, True), shown.out
    assert "see above" not in shown.out


def list_cloud(site: Installation, listing: StoredListing) -> None:
    """Store a listing, as the power worker does."""
    engine = connect(site.settings.store.url)
    with engine.begin() as connection:
        snapshots.keep_listing(connection, CLUSTER, listing)
    engine.dispose()


def test_both_servers_of_a_node_are_listed(site: Installation) -> None:
    generation = make_orphan(site)
    tagged = Server("id-1", "node1", "ACTIVE", cluster=CLUSTER, node="node1")
    engine = connect(site.settings.store.url)
    with engine.begin() as connection:
        servers = tagged, replace(tagged, id="id-9", status="SHUTOFF")
        listing = StoredListing("one", generation, generation + 1, servers)
        snapshots.keep_listing(connection, CLUSTER, listing)
    engine.dispose()
    shown = site.lamplighter("drift")
    assert shown.code == 1, shown.err
    assert all(word in shown.out for word in ("ambiguous", "id-1 ACTIVE", "id-9 SHUTOFF"))


def test_old_or_missing_snapshot_repairs_nothing(site: Installation) -> None:
    missing = site.lamplighter("drift", "--fix")
    assert (missing.code, "there is no snapshot yet" in missing.err) == (3, True)
    make_orphan(site, seconds_ago=3600)
    old = site.lamplighter("drift", "--fix")
    assert (old.code, "no repair is requested" in old.err) == (3, True)
    assert site.depth(topology.SUSPEND_QUEUE) == 0
    assert "STALE" in site.lamplighter("status").out


def test_hold_is_shown_everywhere_and_published(site: Installation) -> None:
    make_orphan(site)
    assert site.lamplighter("hold", "node[1-2]", "--reason", "its disk is odd").code == 0
    assert site.lamplighter("hold", "node7", "--reason", "none of ours").code == 2
    for words in (("status",), ("nodes", "list"), ("nodes", "show", "node1"), ("drift",)):
        assert "its disk is odd" in site.lamplighter(*words).out
    assert site.lamplighter("drift", "--fix").code == 1
    assert site.depth(topology.SUSPEND_QUEUE) == 0
    assert site.lamplighter("release", "node1").code == 0
    assert site.lamplighter("release", "node1").code == 1
    notices = [notice_from(parse(body)) for _, body in site.drain(topology.AUDIT_QUEUE)]
    assert [(notice.name, notice.subject) for notice in notices] == [
        ("hold.placed", "node1"),
        ("hold.placed", "node2"),
        ("hold.released", "node1"),
    ]
    # a hold can be ended once its node is in no group any more
    site.config.write_text(site.config.read_text().replace("node[1-3]", "node1"))
    assert "its disk is odd" in site.lamplighter("status").out
    released = site.lamplighter("release", "node[1-2]")
    assert (released.code, released.out) == (0, "released: node2\n"), released.err
    assert all(notice.details["reason"] == "its disk is odd" for notice in notices)


def test_notices_reach_the_audit_after_the_broker_was_away(site: Installation) -> None:
    """Commands that change something and then notify: they succeed, and the relay sends the notice."""
    make_orphan(site)
    engine = connect(site.settings.store.url)
    with engine.begin() as connection:
        group_images.keep(connection, CLUSTER, [BAKED])
    engine.dispose()
    content = site.config.read_text()
    away = re.sub(r'url = "amqp://[^"]*"', 'url = "amqp://guest@127.0.0.1:1/x"', content)
    site.config.write_text(away)
    for words in (
        ("hold", "node[1-2]", "--reason", "its disk is odd"),
        ("release", "node1"),
        ("image", "unset", "all", "--reason", "too old"),
    ):
        result = site.lamplighter(*words)
        assert (result.code, "the audit log records it later" in result.err) == (0, True)
        assert (site.folder / "broker.password").read_text().strip() not in result.err
    site.config.write_text(content)
    assert site.depth(topology.AUDIT_QUEUE) == 0
    assert site.lamplighter("relay", "--once").code == 0
    notices = [notice_from(parse(body)) for _, body in site.drain(topology.AUDIT_QUEUE)]
    assert [(notice.name, notice.subject) for notice in notices] == [
        ("hold.placed", "node1"),
        ("hold.placed", "node2"),
        ("hold.released", "node1"),
        ("group.image_unset", "all"),
    ]
    assert list(site.settings.hook.spool.iterdir()) == []


def test_notice_that_can_be_neither_spooled_nor_published_is_reported(site: Installation) -> None:
    content = site.config.read_text()
    site.config.write_text(
        re.sub(r'url = "amqp://[^"]*"', 'url = "amqp://x@127.0.0.1:1/x"', content)
    )
    site.settings.hook.spool.rmdir()
    site.settings.hook.spool.touch()
    result = site.lamplighter("hold", "node1", "--reason", "its disk is odd")
    assert (result.code, "not recorded in the audit log" in result.err) == (3, True)
    # with the broker, no spool is needed
    site.config.write_text(content)
    assert site.lamplighter("release", "node1").code == 0
    assert site.depth(topology.AUDIT_QUEUE) == 1


def test_snapshot_needs_slurms_commands(site: Installation) -> None:
    site.config.write_text(site.config.read_text() + '[slurm]\nbin = "nowhere"\n')
    result = site.lamplighter("snapshot")
    assert (result.code, "slurm.bin" in result.err) == (2, True)
    (view,) = site.lamplighter("status", "--json").lines
    assert view["slurm"] is None


def test_a_slurmctld_that_does_not_answer_is_not_called_a_broker(site: Installation) -> None:
    bin_ = site.folder / "bin"
    bin_.mkdir()
    for name in ("scontrol", "squeue"):
        (bin_ / name).write_text(
            "#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n"
        )
        (bin_ / name).chmod(0o755)
    site.config.write_text(site.config.read_text() + f'[slurm]\nbin = "{bin_}"\n')
    result = site.lamplighter("snapshot")
    words = (
        "lamplighter: no snapshot: slurmctld does not answer: Unable to contact slurm controller"
    )
    assert (result.code, result.err.strip()) == (3, words)
