"""The hooks, started exactly as slurmctld starts them, and a broker in every bad state."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from producers import hook, relay
from producers.amqp import connection_parameters
from producers.broker_settings import BrokerSettings
from schemas.commands import Kind, parse_command
from tests.testbed.controller import IN_TIME, PROGRAMS, Controller
from tests.testbed.installation import Installation
from workers.broker import topology
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import PrivateBroker

RESUME_FILE = '{"jobs":[{"job_id":4711,"nodes":"node[1-2]"}],"all_nodes":"node[1-2]"}'


@pytest.fixture
def controller(run_dir: Path, broker_url: str) -> Controller:
    site = Installation(run_dir / "site", broker_url)
    site.prepare()
    return Controller(site)


@pytest.fixture
def alone(run_dir: Path, private_broker: PrivateBroker) -> Controller:
    """A controller with a broker of its own, which the test may stop."""
    site = Installation(
        run_dir / "site", private_broker.amqp_url(private_broker.create_vhost("hooks"))
    )
    site.prepare()
    private_broker.settle()
    return Controller(site)


def test_each_node_gets_a_message_with_its_jobs(
    controller: Controller,
) -> None:
    assert controller.hook("resume", "node[1-3]", content=RESUME_FILE).code == 0
    bodies = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    jobs = {c.node: [job.job_id for job in c.jobs] for c in map(parse_command, bodies)}
    assert jobs == {"node1": [4711], "node2": [4711], "node3": []}
    assert controller.spooled == []
    assert controller.log == ""


def test_suspend_and_resume_fail_go_to_a_queue_of_their_own(controller: Controller) -> None:
    assert controller.hook("suspend", "node1").code == 0
    assert controller.hook("resume-fail", "node2").code == 0
    assert controller.nodes(topology.SUSPEND_QUEUE) == ["node1", "node2"]
    assert controller.nodes(topology.RESUME_QUEUE) == []


@pytest.mark.parametrize("arguments", [("node[",), (), ("node1", "node2"), ("$(reboot)",)])
def test_a_malformed_call_sends_nothing_and_is_reported(
    controller: Controller, arguments: tuple[str, ...]
) -> None:
    assert controller.hook("resume", *arguments).code == 2
    assert controller.log.count("\n") == 1
    assert "slurmctld" in controller.log or "hostlist" in controller.log
    assert controller.spooled == []
    assert controller.nodes(topology.RESUME_QUEUE) == []


def test_a_missing_topology_is_reported_and_the_request_kept(
    run_dir: Path, broker_url: str
) -> None:
    controller = Controller(Installation(run_dir / "site", broker_url))
    ran = controller.hook("resume", "node1")
    assert (ran.code, len(controller.spooled)) == (0, 1)
    assert "spooled, not yet published" in controller.log


def test_a_command_that_reaches_no_queue_stays_in_the_spool(controller: Controller) -> None:
    """`mandatory`: the broker confirms unroutable messages too."""
    parameters = connection_parameters(controller.site.settings.broker, "test")
    with blocking_channel(parameters) as channel:
        channel.queue_unbind(topology.RESUME_QUEUE, topology.COMMANDS, "node.resume.requested")
    assert controller.hook("resume", "node1").code == 0
    assert len(controller.spooled) == 1
    assert "reached no queue" in controller.log


def test_without_a_broker_the_call_is_spooled_at_once(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.stop()
    ran = alone.hook("resume", "node[1-2]", content=RESUME_FILE)
    assert (ran.code, len(alone.spooled)) == (0, 1)
    assert ran.seconds < IN_TIME


def test_a_silent_broker_delays_the_hook_by_its_limit_at_most(run_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        controller = Controller(Installation(run_dir / "site", f"amqp://x:y@127.0.0.1:{port}/v"))
        ran = controller.hook("resume", "node1")
    assert (ran.code, len(controller.spooled)) == (0, 1)
    assert ran.seconds < IN_TIME


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a host that does not answer: the connection is never established."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = []
        try:
            # The connection queue overflows: the kernel drops further connections.
            for _ in range(3):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(address)
            yield f"amqp://x:y@127.0.0.1:{address[1]}/v"
        finally:
            for each in waiting:
                each.close()


def test_an_unreachable_broker_delays_the_hook_by_its_limit_at_most(
    run_dir: Path, deaf: str
) -> None:
    controller = Controller(Installation(run_dir / "site", deaf))
    ran = controller.hook("resume", "node1")
    assert (ran.code, len(controller.spooled)) == (0, 1)
    assert ran.seconds < IN_TIME


def test_sigterm_ends_a_hook_at_once_with_its_request_spooled(run_dir: Path) -> None:
    """Slurmctld 22.05 blocks the signal in its children; 24.11 sends it at ResumeTimeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        controller = Controller(Installation(run_dir / "site", f"amqp://x:y@127.0.0.1:{port}/v"))
        with controller.start("resume", "node1") as running:
            silent.settimeout(20.0)
            connection, _ = silent.accept()
            with connection:
                running.send(signal.SIGTERM)
                assert running.wait().code == -signal.SIGTERM
    assert controller.left() == ["node1"]


def test_sigterm_ends_a_relay_at_once_with_a_silent_broker(run_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        controller = Controller(Installation(run_dir / "site", f"amqp://x:y@127.0.0.1:{port}/v"))
        controller.hook("resume", "node1")
        running = controller.site.start("relay")
        silent.settimeout(20.0)
        silent.accept()[0].close()  # the hook's
        connection, _ = silent.accept()
        with connection:
            running.send(signal.SIGTERM)
            assert running.wait(3.0) == 0
    assert controller.left() == ["node1"]


def test_a_broker_in_memory_alarm_delays_the_hook_by_its_limit_at_most(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.raise_memory_alarm()
    ran = alone.hook("resume", "node1")
    private_broker.clear_memory_alarm()
    assert (ran.code, len(alone.spooled)) == (0, 1)
    assert ran.seconds < IN_TIME
    assert "the broker accepts no messages now (low on memory)" in alone.log
    assert relay.main(alone.site.config, once=True) == 0
    assert alone.spooled == []


def test_a_request_that_a_full_queue_refuses_is_kept(controller: Controller) -> None:
    controller.replace_queue(
        topology.RESUME_QUEUE,
        topology.COMMANDS,
        "node.resume.requested",
        queue_type="quorum",
        overflow="reject-publish",
        max_length=1,
    )
    codes = {controller.hook("resume", f"node{number}").code for number in range(1, 6)}
    assert codes == {0}
    assert controller.spooled
    assert "a queue is full" in controller.log


def test_the_next_hook_publishes_its_own_call_then_the_spooled_ones(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.stop()
    for number in (1, 2):
        alone.hook("resume", f"node{number}")
    private_broker.start()
    assert alone.hook("resume", "node3").code == 0
    assert alone.spooled == []
    assert alone.nodes(topology.RESUME_QUEUE) == ["node3", "node1", "node2"]


def test_the_relay_publishes_the_call_of_a_hook_killed_after_spooling(
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


def test_the_relay_publishes_oldest_first_and_stops_on_sigterm(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.stop()
    for number in (1, 2, 3):
        alone.hook("suspend", f"node{number}")
    private_broker.start()
    running = alone.site.start("relay")
    alone.site.wait_depth(topology.SUSPEND_QUEUE, 3)
    assert running.stop() == 0
    assert alone.nodes(topology.SUSPEND_QUEUE) == ["node1", "node2", "node3"]


def test_an_unwritable_spool_is_reported_and_the_request_published(
    controller: Controller,
) -> None:
    (controller.folder / "spool").write_text("in the way")
    assert controller.hook("resume", "node1").code == 1
    assert "not durable: hooks.spool" in controller.log
    assert "but published" in controller.log
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1"]


def test_without_spool_and_broker_the_loss_is_reported(run_dir: Path) -> None:
    controller = Controller(Installation(run_dir / "site", "amqp://x:y@127.0.0.1:1/v"))
    (controller.folder / "spool").write_text("in the way")
    assert controller.hook("resume", "node1").code == 1
    assert "is LOST" in controller.log


def test_no_password_reaches_a_log(run_dir: Path) -> None:
    controller = Controller(Installation(run_dir / "site", "amqp://me:s3cr3t@127.0.0.1:1/v"))
    controller.hook("resume", "node1")
    assert controller.log
    assert "s3cr3t" not in controller.log
    assert "s3cr3t" not in repr(BrokerSettings(("amqp://me:s3cr3t@h/v",)).shown)


def test_the_working_directory_does_not_matter(run_dir: Path, broker_url: str) -> None:
    site = Installation(run_dir / "site", broker_url)
    site.prepare()
    controller = Controller(site, cwd="/proc/self/fdinfo")
    assert controller.hook("resume", "node1").code == 0
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1"]


def test_an_unusable_clock_is_a_warning_and_the_request_is_published(
    controller: Controller,
) -> None:
    (controller.folder / "clock").write_text("in the way")
    assert controller.hook("resume", "node1").code == 0
    assert "hooks.state: " in controller.log
    (body,) = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    assert "hooks.state: " in (parse_command(body).note or "")


def test_a_clock_far_ahead_is_reported_with_the_remedy(controller: Controller) -> None:
    """Workers reject generations from far in the future, so an operator must know."""
    (controller.folder / "clock").mkdir()
    (controller.folder / "clock" / "generation").write_text("04000000000000000000")
    assert controller.hook("resume", "node1").code == 0
    remedy = "correct the time, or if it is correct run: lamplighter clock reset"
    assert f"s ahead of this host's time; {remedy}" in controller.log


def test_an_unreadable_configuration_is_a_bad_call(controller: Controller) -> None:
    controller.site.config.write_text("cluster = ")
    assert controller.hook("resume", "node1").code == 2
    assert controller.spooled == []


def test_a_missing_resume_file_loses_only_the_jobs(controller: Controller) -> None:
    environ = {
        "SLURM_CONF": str(controller.folder / "slurm.conf"),
        "SLURM_RESUME_FILE": str(controller.folder / "gone"),
    }
    assert hook.run(Kind.RESUME, ["lamplighter-resume", "node1"], environ) == 0
    (body,) = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    assert "SLURM_RESUME_FILE: " in (parse_command(body).note or "")


def test_a_closed_standard_error_does_not_matter(controller: Controller) -> None:
    """Slurmctld 24.11 gives the hook a pipe to slurmscriptd."""
    (controller.folder / "clock").write_text("in the way")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [PROGRAMS / "lamplighter-resume", "node1"],
            env={"SLURM_CONF": str(controller.folder / "slurm.conf")},
            stdout=writer,
            stderr=writer,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.returncode == 0
    assert "hooks.state: " in controller.log
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1"]
