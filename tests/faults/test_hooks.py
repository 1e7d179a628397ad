"""The hooks exactly as slurmctld starts them, and a broker in every bad state."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from producers import relay, spool
from producers.amqp import connection_parameters
from producers.settings import BrokerSettings
from schemas.commands import parse_command
from tests.testbed.site import Site
from workers import topology
from workers.browse import browse

if TYPE_CHECKING:
    from tests.testbed.broker import PrivateBroker

PROGRAMS = Path(sys.executable).parent
# As measured under slurmctld 22.05 (SigBlk 0x887a27).
BLOCKED = {
    signal.Signals[f"SIG{name}"]
    for name in [
        "HUP",
        "INT",
        "QUIT",
        "ABRT",
        "USR1",
        "USR2",
        "PIPE",
        "ALRM",
        "TERM",
        "TSTP",
        "XCPU",
    ]
}
RESUME_FILE = b'{"jobs":[{"job_id":4711,"nodes":"node[1-2]"}],"all_nodes":"node[1-2]"}'
STARTER = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {blocked!r})
fd = os.memfd_create("resume")
os.write(fd, {content!r})
environ = {{"SLURM_CONF": {conf!r}}}
if {content!r}:
    environ["SLURM_RESUME_FILE"] = f"/proc/{{os.getpid()}}/fd/{{fd}}"
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.chdir("/")
    os.closerange(0, 3)
    os.execve({argv!r}[0], {argv!r}, environ)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@dataclass(frozen=True)
class Ran:
    """How a hook ended, and after how many seconds."""

    code: int
    seconds: float


class Controller:
    """What is beside slurm.conf, and slurmctld's way of starting a program."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = site.folder
        site.config.write_text(
            site.config.read_text().replace("[hooks]\n", '[hooks]\nlog_file = "hooks.log"\n')
        )

    def hook(self, kind: str, *arguments: str, content: bytes = b"") -> Ran:
        """Start a hook as slurmctld 22.05 does: descriptors closed, signals blocked, bare."""
        argv = [str(PROGRAMS / f"lamplighter-{kind}"), *arguments]
        program = STARTER.format(
            blocked={int(number) for number in BLOCKED},
            content=content,
            conf=str(self.folder / "slurm.conf"),
            argv=argv,
        )
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
        return Ran(done.returncode, time.monotonic() - began)

    @property
    def spooled(self) -> list[Path]:
        """What waits in the spool."""
        return spool.waiting(self.folder / "spool")

    @property
    def log(self) -> str:
        """The hooks' log file."""
        path = self.folder / "hooks.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def controller(run_dir: Path, broker_url: str) -> Controller:
    site = Site(run_dir / "site", broker_url)
    site.prepare()
    return Controller(site)


@pytest.fixture
def alone(run_dir: Path, private_broker: PrivateBroker) -> Controller:
    """A controller whose broker may be broken."""
    site = Site(run_dir / "site", private_broker.amqp_url(private_broker.create_vhost("hooks")))
    site.prepare()
    private_broker.settle()
    return Controller(site)


def commands(controller: Controller, queue: str) -> list[str]:
    return [parse_command(body).node for _, body in controller.site.drain(queue)]


def test_as_slurmctld_starts_it_each_node_gets_a_message_with_its_jobs(
    controller: Controller,
) -> None:
    assert controller.hook("resume", "node[1-3]", content=RESUME_FILE).code == 0
    bodies = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    asked = {c.node: [job.job_id for job in c.jobs] for c in map(parse_command, bodies)}
    assert asked == {"node1": [4711], "node2": [4711], "node3": []}
    assert controller.spooled == []
    assert controller.log == ""


def test_suspend_and_resume_fail_go_where_they_hold_up_no_resume(controller: Controller) -> None:
    assert controller.hook("suspend", "node1").code == 0
    assert controller.hook("resume-fail", "node2").code == 0
    assert commands(controller, topology.SUSPEND_QUEUE) == ["node1", "node2"]
    assert commands(controller, topology.RESUME_QUEUE) == []


@pytest.mark.parametrize("arguments", [("node[",), (), ("node1", "node2"), ("$(reboot)",)])
def test_a_malformed_call_sends_nothing_and_says_why(
    controller: Controller, arguments: tuple[str, ...]
) -> None:
    assert controller.hook("resume", *arguments).code == 2
    assert controller.log.count("\n") == 1
    assert "slurmctld" in controller.log or "hostlist" in controller.log
    assert controller.spooled == []
    assert commands(controller, topology.RESUME_QUEUE) == []


def test_a_topology_not_in_place_is_said_and_the_request_kept(
    run_dir: Path, broker_url: str
) -> None:
    controller = Controller(Site(run_dir / "site", broker_url))
    ran = controller.hook("resume", "node1")
    assert (ran.code, len(controller.spooled)) == (0, 1)
    assert "spooled, not yet published" in controller.log


def test_a_command_that_reaches_no_queue_is_not_taken_for_sent(controller: Controller) -> None:
    """`mandatory`: a confirm alone would not tell."""
    parameters = connection_parameters(controller.site.settings.broker, "test")
    with browse(parameters) as channel:
        channel.queue_unbind(topology.RESUME_QUEUE, topology.COMMANDS, "node.resume.requested")
    assert controller.hook("resume", "node1").code == 0
    assert len(controller.spooled) == 1
    assert "reached no queue" in controller.log


def test_without_a_broker_it_is_spooled_at_once(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.stop()
    ran = alone.hook("resume", "node[1-2]", content=RESUME_FILE)
    assert (ran.code, len(alone.spooled)) == (0, 1)
    assert ran.seconds < 5


def test_a_broker_that_says_nothing_costs_less_than_five_seconds(run_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        controller = Controller(Site(run_dir / "site", f"amqp://x:y@127.0.0.1:{port}/v"))
        ran = controller.hook("resume", "node1")
    assert (ran.code, len(controller.spooled)) == (0, 1)
    assert ran.seconds < 5


def test_a_broker_in_memory_alarm_costs_less_than_five_seconds(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.raise_memory_alarm()
    ran = alone.hook("resume", "node1")
    private_broker.clear_memory_alarm()
    assert (ran.code, len(alone.spooled)) == (0, 1)
    assert ran.seconds < 5
    assert relay.main(alone.site.config, once=True) == 0
    assert alone.spooled == []


def test_a_full_queue_refuses_and_the_request_is_kept(controller: Controller) -> None:
    parameters = connection_parameters(controller.site.settings.broker, "test")
    with browse(parameters) as channel:
        channel.queue_delete(topology.RESUME_QUEUE)
        full = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length": 1}
        channel.queue_declare(topology.RESUME_QUEUE, durable=True, arguments=full)
        channel.queue_bind(topology.RESUME_QUEUE, topology.COMMANDS, "node.resume.requested")
    codes = {controller.hook("resume", f"node{number}").code for number in range(1, 6)}
    assert codes == {0}
    assert controller.spooled
    assert "a queue is full" in controller.log


def test_the_next_hook_sends_its_own_request_then_what_was_left(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.stop()
    for number in (1, 2):
        alone.hook("resume", f"node{number}")
    private_broker.start()
    assert alone.hook("resume", "node3").code == 0
    assert alone.spooled == []
    assert commands(alone, topology.RESUME_QUEUE) == ["node3", "node1", "node2"]


def test_a_hook_killed_after_spooling_is_sent_by_the_relay_once_as_the_same_request(
    controller: Controller,
) -> None:
    """P1: kill -9 between the spool and the broker."""
    program = (
        "import os, signal, sys\nfrom producers import hook\n"
        "hook.send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"hook.run(hook.Kind.RESUME, ['x', 'node1'], {{'SLURM_CONF': {str(controller.folder / 's')!r}}})"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    [path] = controller.spooled
    copy = path.read_bytes()
    assert relay.main(controller.site.config, once=True) == 0
    path.write_bytes(copy)
    assert relay.main(controller.site.config, once=True) == 0
    bodies = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]


def test_the_relay_sends_oldest_first_and_goes_when_told(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.stop()
    for number in (1, 2, 3):
        alone.hook("suspend", f"node{number}")
    for path in alone.spooled:
        os.utime(path, (0, 0))
    private_broker.start()
    running = alone.site.start("relay")
    alone.site.wait_depth(topology.SUSPEND_QUEUE, 3)
    assert running.stop() == 0
    assert commands(alone, topology.SUSPEND_QUEUE) == ["node1", "node2", "node3"]


def test_a_spool_that_cannot_be_written_is_said_and_the_request_published_all_the_same(
    controller: Controller,
) -> None:
    (controller.folder / "spool").write_text("in the way")
    assert controller.hook("resume", "node1").code == 1
    assert "not durable: hooks.spool" in controller.log
    assert "it was published all the same" in controller.log
    assert commands(controller, topology.RESUME_QUEUE) == ["node1"]


def test_with_neither_spool_nor_broker_the_loss_is_said(run_dir: Path) -> None:
    controller = Controller(Site(run_dir / "site", "amqp://x:y@127.0.0.1:1/v"))
    (controller.folder / "spool").write_text("in the way")
    assert controller.hook("resume", "node1").code == 1
    assert "is LOST" in controller.log


def test_no_password_reaches_a_log(run_dir: Path) -> None:
    controller = Controller(Site(run_dir / "site", "amqp://me:s3cr3t@127.0.0.1:1/v"))
    controller.hook("resume", "node1")
    assert controller.log
    assert "s3cr3t" not in controller.log
    assert "s3cr3t" not in repr(BrokerSettings("amqp://me:s3cr3t@h/v").shown)
