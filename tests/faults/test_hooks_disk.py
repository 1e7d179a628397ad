"""A hook whose disk is full or read-only: real file systems in a mount namespace of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from producers import relay
from schemas.commands import parse_command
from tests.testbed.controller import Controller
from tests.testbed.installation import Installation
from workers.broker import topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FULL = (
    'mount -t tmpfs -o size=16k none "{folder}"; cat /dev/zero >"{folder}/filler" 2>/dev/null || :'
)
READ_ONLY = 'mount --bind "{folder}" "{folder}"; mount -o remount,bind,ro "{folder}"'
# A private /dev with a private log socket.
SYSLOG = """
mount -t tmpfs none "{folder}"
for name in null zero full random urandom; do
    touch "{folder}/$name"; mount --bind "/dev/$name" "{folder}/$name"
done
touch "{folder}/log"; mount --bind "{socket}" "{folder}/log"
mount --rbind "{folder}" /dev
"""
AWAY = "amqp://x:y@127.0.0.1:1/v"


def namespace(setup: str) -> list[str]:
    """The command prefix that runs a command with these mounts, invisible to other processes."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--mount", "sh", "-ec", f'{setup}\nexec "$@"', "sh"]


@pytest.fixture
def mounted(run_dir: Path, broker_url: str) -> Callable[..., Controller]:
    """Makes a controller, with `setup` applied to one of its folders."""

    def make(setup: str, name: str = "spool", url: str = broker_url, **more: object) -> Controller:
        site = Installation(run_dir / "site", url)
        if url == broker_url:
            site.prepare()
        folder = site.folder / name
        folder.mkdir()
        return Controller(site, prefix=namespace(setup.format(folder=folder, **more)))

    return make


@pytest.mark.parametrize(
    ("setup", "reason", "remedy"),
    [
        (FULL, "No space left on device", "free disk space"),
        (READ_ONLY, "Read-only file system", "mount it writable"),
    ],
    ids=["full", "read-only"],
)
def test_a_call_that_cannot_be_spooled_is_reported_and_published(
    mounted: Callable[..., Controller], setup: str, reason: str, remedy: str
) -> None:
    controller = mounted(setup)
    assert controller.hook("resume", "node[1-3]").code == 1
    assert f"not durable: hooks.spool: {reason}: {controller.spool}; {remedy}" in controller.log
    assert "but published" in controller.log
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1", "node2", "node3"]


@pytest.mark.parametrize("setup", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_without_a_broker_too_the_loss_is_reported(
    mounted: Callable[..., Controller], setup: str
) -> None:
    controller = mounted(setup, url=AWAY)
    assert controller.hook("resume", "node1").code == 1
    assert "'node1': not durable: hooks.spool: " in controller.log
    assert "and is LOST: cannot connect" in controller.log


@pytest.mark.parametrize("setup", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_a_clock_on_a_full_disk_loses_no_request(
    mounted: Callable[..., Controller], setup: str
) -> None:
    controller = mounted(setup, name="clock")
    assert controller.hook("resume", "node1").code == 0
    assert "hooks.state: " in controller.log
    (body,) = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    assert "hooks.state: " in (parse_command(body).note or "")


def test_a_call_on_a_disk_that_went_read_only_is_published_when_it_is_writable_again(
    run_dir: Path, broker_url: str
) -> None:
    away = Controller(Installation(run_dir / "site", AWAY))
    assert away.hook("resume", "node1").code == 0
    site = Installation(run_dir / "site", broker_url)
    site.prepare()
    controller = Controller(site, prefix=namespace(READ_ONLY.format(folder=away.spool)))
    assert controller.hook("resume", "node2").code == 1
    assert controller.left() == ["node1"]
    assert relay.main(site.config, once=True) == 0
    assert controller.spooled == []
    assert set(controller.nodes(topology.RESUME_QUEUE)) == {"node1", "node2"}


@pytest.fixture
def syslog(run_dir: Path) -> Iterator[socket.socket]:
    """A syslog daemon's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(run_dir / "log"))
        server.settimeout(10.0)
        yield server


def test_errors_go_to_syslog_even_without_a_configuration(
    mounted: Callable[..., Controller], syslog: socket.socket
) -> None:
    controller = mounted(SYSLOG, name="dev", url=AWAY, socket=syslog.getsockname())
    assert controller.hook("resume", "node[").code == 2
    line = syslog.recv(8192).decode()
    assert line.startswith("<27>"), "facility daemon, severity error"
    assert "lamplighter[" in line
    assert "hostlist: unbalanced brackets: 'node['" in line
    assert controller.hook("resume", "node1").code == 0
    line = syslog.recv(8192).decode()
    assert line.startswith("<28>"), "facility daemon, severity warning"
    assert "'node1': spooled, not yet published: cannot connect" in line
    controller.site.config.unlink()
    assert controller.hook("resume", "node1").code == 2
    assert "set LAMPLIGHTER_CONFIG" in syslog.recv(8192).decode()


def test_an_unwritable_log_file_is_reported_to_syslog_and_loses_nothing(
    mounted: Callable[..., Controller], syslog: socket.socket
) -> None:
    controller = mounted(SYSLOG, name="dev", url=AWAY, socket=syslog.getsockname())
    (controller.folder / "hooks.log").mkdir()
    assert controller.hook("resume", "node1").code == 0
    assert len(controller.spooled) == 1
    syslog.recv(8192)
    assert "hooks.log_file: Is a directory" in syslog.recv(8192).decode()


def test_the_mounts_of_these_tests_are_invisible_outside(
    mounted: Callable[..., Controller],
) -> None:
    controller = mounted(FULL)
    controller.hook("resume", "node1")
    mounts = subprocess.run(
        ["/bin/cat", "/proc/mounts"], capture_output=True, text=True, check=True
    )
    assert str(controller.folder) not in mounts.stdout
