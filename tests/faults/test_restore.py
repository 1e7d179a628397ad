"""Backup and restore by the commands of docs/operations.md, with requests in flight.

The promises are those of its section "What becomes of requests in between".
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.testbed.consumers import all_consume
from tests.testbed.page_commands import for_postgresql, printed, run_commands, write_services
from tests.testbed.postgresql import PostgreSQL
from tests.testbed.scripted_slurm import ScriptedSlurm
from tests.testbed.stores import SQLITE_PAIR
from tests.testbed.waiting import until
from tests.testbed.whole_system import PROGRAMS, WORKERS, SystemPlan, WholeSystem
from workers.broker import topology
from workers.store.database import connect, reading
from workers.store.overview import open_requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# On SQLite: the page restores databases of both kinds.

ALL = (*WORKERS, "resync")


def lose(system: WholeSystem) -> None:
    """The host's disk is lost, but not what another host keeps: the spool."""
    for path in system.folder.iterdir():
        if path.is_file() and path.suffix != ".log":
            path.unlink()
    shutil.rmtree(system.folder / "clock")
    (system.folder / "clock").mkdir(mode=0o700)


def spooled(system: WholeSystem, slurm: ScriptedSlurm, node: str) -> None:
    """Slurm resumes a node while the broker cannot be reached."""
    away = system.folder.parent / "away.toml"
    away.touch(mode=0o600)
    text = system.settings.path.read_text()
    text = re.sub(r"amqp://([^@]+)@[^/]+/", r"amqp://\1@127.0.0.1:1/", text)
    text = re.sub(r'"(spool|clock|[\w.]+\.password)"', rf'"{system.folder}/\1"', text)
    away.write_text(text)
    subprocess.run(
        [PROGRAMS / "lamplighter-resume", node],
        env={"LAMPLIGHTER_CONFIG": str(away)},
        check=True,
        timeout=30,
        capture_output=True,
    )
    system.note("resume", node)
    slurm.wanted.add(node)


def outcomes(system: WholeSystem, node: str) -> list[str]:
    """The transitions of all requests for a node, in order."""
    return [str(one.transition) for one in system.records(nodes=(node,)) if one.transition]


@pytest.mark.parametrize("shared", [False, True], ids=["sqlite", "postgresql"])
def test_a_restored_site_does_with_requests_in_between_what_the_page_says(
    run_dir: Path, broker_url: str, *, shared: bool
) -> None:
    if not shared:
        restored(run_dir, broker_url, SQLITE_PAIR, printed)
        return
    with PostgreSQL(run_dir / "postgresql") as server:
        store = server.create_database(), server.create_database()
        restored(run_dir, broker_url, store, for_postgresql)


def restored(
    run_dir: Path, broker_url: str, store: tuple[str, str], page: Callable[[str], list[str]]
) -> None:
    plan = SystemPlan(
        store=store,
        nodes=6,
        boot=2.0,
        power="poll_interval = 0.3\napi_timeout = 5\nlease = 10",
        source="oidc_refresh_token",
        more="[slurm]\nsnapshot_interval = 5\n[resync]\nenabled = true\ngrace = 0\n"
        '[audit]\nkey_file = "audit.key"\nheads_file = "audit.heads"\nheads_every = 0.5\n'
        '[tokens]\nkey_file = "token.key"\n',
    )
    backup = run_dir / "backup"
    backup.mkdir(mode=0o700)
    with WholeSystem(run_dir / "site", broker_url, plan, start=()) as system:
        if page is for_postgresql:
            write_services(system, run_dir)
        begin(system)
        slurm = ScriptedSlurm(system)
        slurm.snapshot()
        slurm.call_hook("node1", "node6", on=True)
        system.settle()
        slurm.call_hook("node2", on=True)
        until(lambda: system.cloud.counts().get("start", 0) == 3, 30, "a request in flight")
        assert len(run_commands(page("Backup"), system, backup)) == 3
        assert not any(file.stat().st_mode & 0o077 for file in backup.iterdir())
        heads = len((system.folder / "audit.heads").read_text())
        system.settle()
        slurm.call_hook("node3", on=True)  # begins and ends after the backup
        system.settle()
        until(
            lambda: len((system.folder / "audit.heads").read_text()) > heads + 300, 20, "a new head"
        )
        newer = shutil.copy(system.folder / "audit.heads", run_dir / "newer.heads")

        for name in ALL:
            system.workers[name].send(signal.SIGTERM)
            assert system.workers[name].wait(30) == 0
        slurm.call_hook("node4", on=True)  # its request is in the queue
        slurm.call_hook("node6", on=False)  # so is this one
        spooled(system, slurm, "node5")
        slurm.wanted -= {"node1", "node2"}  # the calls of their hooks are lost
        lose(system)
        # rm and a copy of each file of SQLite's, or what takes their place
        restores = 4 if page is for_postgresql else 5
        assert len(run_commands(page("Restore"), system, backup)) == restores
        begin(system)
        assert system.operator("relay", "--once").returncode == 0
        until(
            lambda: all("completed" in outcomes(system, node) for node in ("node4", "node5")),
            60,
            "the requests of the queue and of the spool",
        )
        until(lambda: "parked" in outcomes(system, "node6"), 30, "the suspend to wait")
        on = {name for name, status in system.statuses().items() if status == "ACTIVE"}
        assert on == set(system.nodes)  # nothing is done by an older desired state alone

        # several: the lease of what was in flight has to expire
        until(lambda: _as_wanted(slurm), 60, "each node to be as Slurm wants it", interval=2.0)
        assert {n for n, s in system.statuses().items() if s == "SHUTOFF"} == {
            "node1",
            "node2",
            "node6",
        }
        verified = system.operator("audit", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        short = system.operator("audit", "verify", "--heads", str(newer))
        assert short.returncode == 1, short.stdout + short.stderr
        engine = connect(system.settings.store.url)
        with reading(engine) as connection:
            assert open_requests(connection, "test") == []  # not even of what was in flight
        engine.dispose()


def _as_wanted(slurm: ScriptedSlurm) -> bool:
    slurm.snapshot()
    return not slurm.wrong()


def begin(system: WholeSystem) -> None:
    """Start all workers, as the target does."""
    for name in ALL:
        system.worker(name)
    until(
        lambda: all_consume(system.settings, topology.SNAPSHOT_QUEUE),
        60,
        "the workers to consume their queues",
    )
