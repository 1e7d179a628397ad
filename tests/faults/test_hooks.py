"""The hooks exactly as slurmctld starts them, and a broker in every bad state."""

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
from producers.settings import BrokerSettings
from schemas.commands import Kind, parse_command
from tests.testbed.controller import PROGRAMS, Controller
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
    """A controller whose broker may be broken."""
    site = Installation(
        run_dir / "site", private_broker.amqp_url(private_broker.create_vhost("hooks"))
    )
    site.prepare()
    private_broker.settle()
    return Controller(site)


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
    assert controller.nodes(topology.SUSPEND_QUEUE) == ["node1", "node2"]
    assert controller.nodes(topology.RESUME_QUEUE) == []


@pytest.mark.parametrize("arguments", [("node[",), (), ("node1", "node2"), ("$(reboot)",)])
def test_a_malformed_call_sends_nothing_and_says_why(
    controller: Controller, arguments: tuple[str, ...]
) -> None:
    assert controller.hook("resume", *arguments).code == 2
    assert controller.log.count("\n") == 1
    assert "slurmctld" in controller.log or "hostlist" in controller.log
    assert controller.spooled == []
    assert controller.nodes(topology.RESUME_QUEUE) == []


def test_a_topology_not_in_place_is_said_and_the_request_kept(
    run_dir: Path, broker_url: str
) -> None:
    controller = Controller(Installation(run_dir / "site", broker_url))
    ran = controller.hook("resume", "node1")
    assert (ran.code, len(controller.spooled)) == (0, 1)
    assert "spooled, not yet published" in controller.log


def test_a_command_that_reaches_no_queue_is_not_taken_for_sent(controller: Controller) -> None:
    """`mandatory`: a confirm alone would not tell."""
    parameters = connection_parameters(controller.site.settings.broker, "test")
    with blocking_channel(parameters) as channel:
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
        controller = Controller(Installation(run_dir / "site", f"amqp://x:y@127.0.0.1:{port}/v"))
        ran = controller.hook("resume", "node1")
    assert (ran.code, len(controller.spooled)) == (0, 1)
    assert ran.seconds < 5


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a broker whose host answers nothing: not even a connection comes about."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = []
        try:
            # More than the queue of connections holds: the kernel drops what comes after.
            for _ in range(3):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(address)
            yield f"amqp://x:y@127.0.0.1:{address[1]}/v"
        finally:
            for each in waiting:
                each.close()


def test_a_broker_out_of_reach_costs_less_than_five_seconds(run_dir: Path, deaf: str) -> None:
    controller = Controller(Installation(run_dir / "site", deaf))
    ran = controller.hook("resume", "node1")
    assert (ran.code, len(controller.spooled)) == (0, 1)
    assert ran.seconds < 5


def test_sigterm_ends_a_hook_at_once_with_its_request_spooled(run_dir: Path) -> None:
    """22.05 blocks it in its children; 24.11 sends it at ResumeTimeout."""
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


def test_sigterm_ends_a_relay_at_once_whatever_the_broker_does(run_dir: Path) -> None:
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


def test_a_broker_in_memory_alarm_costs_less_than_five_seconds(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.raise_memory_alarm()
    ran = alone.hook("resume", "node1")
    private_broker.clear_memory_alarm()
    assert (ran.code, len(alone.spooled)) == (0, 1)
    assert ran.seconds < 5
    assert "the broker takes nothing now (low on memory)" in alone.log
    assert relay.main(alone.site.config, once=True) == 0
    assert alone.spooled == []


def test_a_full_queue_refuses_and_the_request_is_kept(controller: Controller) -> None:
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


def test_the_next_hook_sends_its_own_request_then_what_was_left(
    alone: Controller, private_broker: PrivateBroker
) -> None:
    private_broker.stop()
    for number in (1, 2):
        alone.hook("resume", f"node{number}")
    private_broker.start()
    assert alone.hook("resume", "node3").code == 0
    assert alone.spooled == []
    assert alone.nodes(topology.RESUME_QUEUE) == ["node3", "node1", "node2"]


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
    private_broker.start()
    running = alone.site.start("relay")
    alone.site.wait_depth(topology.SUSPEND_QUEUE, 3)
    assert running.stop() == 0
    assert alone.nodes(topology.SUSPEND_QUEUE) == ["node1", "node2", "node3"]


def test_a_spool_that_cannot_be_written_is_said_and_the_request_published_all_the_same(
    controller: Controller,
) -> None:
    (controller.folder / "spool").write_text("in the way")
    assert controller.hook("resume", "node1").code == 1
    assert "not durable: hooks.spool" in controller.log
    assert "it was published all the same" in controller.log
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1"]


def test_with_neither_spool_nor_broker_the_loss_is_said(run_dir: Path) -> None:
    controller = Controller(Installation(run_dir / "site", "amqp://x:y@127.0.0.1:1/v"))
    (controller.folder / "spool").write_text("in the way")
    assert controller.hook("resume", "node1").code == 1
    assert "is LOST" in controller.log


def test_no_password_reaches_a_log(run_dir: Path) -> None:
    controller = Controller(Installation(run_dir / "site", "amqp://me:s3cr3t@127.0.0.1:1/v"))
    controller.hook("resume", "node1")
    assert controller.log
    assert "s3cr3t" not in controller.log
    assert "s3cr3t" not in repr(BrokerSettings("amqp://me:s3cr3t@h/v").shown)


def test_an_odd_working_directory_is_no_matter(run_dir: Path, broker_url: str) -> None:
    site = Installation(run_dir / "site", broker_url)
    site.prepare()
    controller = Controller(site, cwd="/proc/self/fdinfo")
    assert controller.hook("resume", "node1").code == 0
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1"]


def test_a_clock_that_cannot_be_used_costs_a_warning_not_the_request(
    controller: Controller,
) -> None:
    (controller.folder / "clock").write_text("in the way")
    assert controller.hook("resume", "node1").code == 0
    assert "hooks.state: " in controller.log
    (body,) = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    assert "hooks.state: " in (parse_command(body).note or "")


def test_a_clock_far_ahead_is_said_with_its_remedy(controller: Controller) -> None:
    """Workers refuse generations from far in the future: somebody must be told."""
    (controller.folder / "clock").mkdir()
    (controller.folder / "clock" / "generation").write_text("04000000000000000000")
    assert controller.hook("resume", "node1").code == 0
    assert "s ahead of this host's time; mend the time, or" in controller.log


def test_a_configuration_nobody_can_read_is_a_bad_call(controller: Controller) -> None:
    controller.site.config.write_text("cluster = ")
    assert controller.hook("resume", "node1").code == 2
    assert controller.spooled == []


def test_a_resume_file_that_is_gone_costs_only_the_jobs(controller: Controller) -> None:
    environ = {
        "SLURM_CONF": str(controller.folder / "slurm.conf"),
        "SLURM_RESUME_FILE": str(controller.folder / "gone"),
    }
    assert hook.run(Kind.RESUME, ["lamplighter-resume", "node1"], environ) == 0
    (body,) = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    assert "SLURM_RESUME_FILE: " in (parse_command(body).note or "")


def test_nobody_at_the_other_end_of_standard_error_is_no_matter(controller: Controller) -> None:
    """24.11 gives the hook a pipe to slurmscriptd."""
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
