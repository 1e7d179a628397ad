"""systemd hears that a worker has started, and restarts one that hangs, not one that works for long."""

from __future__ import annotations

import os
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.install import units
from ops.site.worker import KINDS
from tests.testbed.installation import Installation
from tests.testbed.processes import Child
from workers.process import systemd
from workers.process.stop import Stop
from workers.process.systemd import Watchdog, tell_systemd

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """What listens in systemd's place."""
    name = f"{run_dir}/notify" if request.param == "path" else f"\0{run_dir.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.settimeout(60.0)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        yield listener


def test_a_worker_says_that_it_has_started_and_lives_though_the_broker_is_away(
    manager: socket.socket, run_dir: Path
) -> None:
    """Else `systemctl start` would wait for the broker."""
    site = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/nobody")
    argv = [sys.executable, "-m", "ops.cli.main", "--config", str(site.config), "worker", "audit"]
    child = Child(argv, env=dict(os.environ), log=run_dir / "log")
    try:
        assert {manager.recv(100) for _ in range(2)} == {b"READY=1", b"WATCHDOG=1"}
    finally:
        child.send(signal.SIGTERM)
        assert child.wait(30.0) == 0


def test_a_loop_that_turns_rests_or_has_not_begun_lives_and_one_that_hangs_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    clock = [0.0]
    monkeypatch.setattr(systemd, "tell_systemd", told.append)
    monkeypatch.setattr("workers.process.systemd.time.monotonic", lambda: clock[0])
    stop = Stop()
    watchdog = Watchdog(stop)

    def signs_of_an_hour() -> int:
        before = len(told)
        for _ in range(720):  # heartbeats
            clock[0] += 5.0
            watchdog.sign()
        return len(told) - before

    assert signs_of_an_hour() == 60, "as in a migration before the first turn"
    assert stop.next_turn()
    assert signs_of_an_hour() == 1, "it hangs: systemd restarts it"
    assert stop.next_turn()
    assert signs_of_an_hour() == 1
    stop.rest(0.0)
    assert signs_of_an_hour() == 60
    stop.set()
    assert not stop.next_turn()


def test_without_systemd_or_with_a_socket_that_is_gone_nothing_happens(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", f"{run_dir}/gone", "@gone"):
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        tell_systemd("READY=1")


@pytest.mark.parametrize("service", units.SERVICES, ids=lambda one: one.name)
def test_only_the_unit_of_a_worker_that_tells_waits_for_it(service: units.Service) -> None:
    """And has time to migrate a store at its start."""
    text = units.unit(service, Path("/usr/bin/lamplighter"), "slurm")
    module = KINDS[service.name].module if service.name in KINDS else "ops.console.command"
    source = Path(str(import_module(module).__file__)).read_text()
    assert ("Type=notify\n" in text) is (".next_turn()" in source)
    assert ("WatchdogSec=15min\n" in text) is ("TimeoutStartSec=infinity\n" in text)
    assert ("WatchdogSec=" in text) is ("Type=notify" in text)
