"""Calls left in the spool: published in order, once, and never blocked by another call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from producers import relay
from producers.amqp import connection_parameters
from producers.call import HookCall
from producers.hosts import expand
from schemas.commands import Kind, parse_command
from tests.testbed.controller import IN_TIME, Controller
from tests.testbed.installation import CLUSTER, Installation
from workers.broker import topology
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from tests.testbed.broker import Broker

ROOT = Path(__file__).parents[2]
GENERATION = 1_767_323_045_678_901_000
FULL = {"overflow": "reject-publish", "queue_type": "classic"}
RESUME_KEY = "node.resume.requested"
# A hook that is killed (-9) before the N-th line of the producers' code.
KILLED = """
import os, signal, sys
from producers import hook
left = [int(sys.argv[1])]
home = os.path.dirname(hook.__file__)
def watch(frame, event, _):
    if not frame.f_code.co_filename.startswith(home):
        return None
    if event == "line":
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return watch
sys.settrace(watch)
code = hook.run(hook.Kind.RESUME, ["hook", "node[1-3]"], {"SLURM_CONF": sys.argv[2]})
os._exit(code)
"""


def call(number: int, nodes: str | None = None, kind: Kind = Kind.RESUME) -> HookCall:
    """The number-th call of a cluster."""
    return HookCall(
        kind=kind,
        cluster=CLUSTER,
        nodes=nodes or f"node{number}",
        generation=GENERATION + number,
        correlation_id=f"{number:032x}",
        expiry=None,
        resume_file=None,
        origin="controller",
    )


@pytest.fixture
def controller(run_dir: Path, broker_url: str) -> Controller:
    site = Installation(run_dir / "site", broker_url)
    site.prepare()
    return Controller(site)


def sweep(controller: Controller) -> int:
    return relay.main(controller.site.config, once=True)


def unroute(controller: Controller, queue: str, key: str) -> None:
    with blocking_channel(
        connection_parameters(controller.site.settings.broker, "test")
    ) as channel:
        channel.queue_unbind(queue, topology.COMMANDS, key)


def test_spooled_calls_are_published_in_the_order_of_their_generations(
    controller: Controller,
) -> None:
    for number in (3, 1, 2):
        controller.leave(call(number))
    assert sweep(controller) == 0
    assert controller.spooled == []
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1", "node2", "node3"]
    assert "relay: sent 3 calls in" in controller.log


def test_an_unroutable_call_does_not_block_later_ones(
    controller: Controller,
) -> None:
    unroute(controller, topology.SUSPEND_QUEUE, "node.resume_fail.reported")
    controller.leave(call(1, kind=Kind.RESUME_FAIL))
    controller.leave(call(2))
    assert sweep(controller) == 1
    assert controller.left() == ["node1"]
    assert controller.nodes(topology.RESUME_QUEUE) == ["node2"]
    assert "run lamplighter topology apply" in controller.log


def test_a_call_that_a_full_queue_refuses_does_not_block_later_ones(
    controller: Controller,
) -> None:
    controller.replace_queue(
        topology.RESUME_QUEUE, topology.COMMANDS, RESUME_KEY, max_length=1, **FULL
    )
    for number in (1, 2):
        controller.leave(call(number))
    controller.leave(call(3, kind=Kind.SUSPEND))
    assert sweep(controller) == 1
    assert controller.left() == ["node2"]
    assert controller.nodes(topology.SUSPEND_QUEUE) == ["node3"]


def test_a_call_that_makes_the_broker_close_the_channel_does_not_block_later_ones(
    run_dir: Path, broker: Broker, vhost: str
) -> None:
    """The broker closes the channel if the user lacks the permission on the routing key."""
    Installation(run_dir / "admin", broker.amqp_url(vhost)).prepare()
    user = broker.add_user(f"hooks-{vhost}", "s3cr3t", vhost, write=".*")
    permission = {"exchange": topology.COMMANDS, "write": "^node\\.suspend", "read": "^$"}
    broker.api._call("PUT", f"topic-permissions/{vhost}/{user.name}", permission)
    controller = Controller(Installation(run_dir / "site", broker.amqp_url(vhost, user)))
    for number in range(1, 5):
        controller.leave(call(number))
    controller.leave(call(5, kind=Kind.SUSPEND))
    assert sweep(controller) == 1
    assert controller.left() == ["node1", "node2", "node3", "node4"]
    assert "ACCESS_REFUSED" in controller.log
    assert controller.hook("suspend", "node6").code == 0
    admin = Controller(Installation(run_dir / "admin", broker.amqp_url(vhost)))
    assert admin.nodes(topology.SUSPEND_QUEUE) == ["node5", "node6"]


def test_only_the_rest_of_a_partly_accepted_call_is_kept(
    controller: Controller,
) -> None:
    """Otherwise a queue that is almost full would accept the same first nodes at every sweep."""
    controller.replace_queue(
        topology.RESUME_QUEUE, topology.COMMANDS, RESUME_KEY, max_length=3, **FULL
    )
    controller.leave(call(1, "node[1-8]"))
    accepted: list[str] = []
    for left in (["node4,node5,node6,node7,node8"], ["node7,node8"], []):
        sweep(controller)
        assert controller.left() == left
        accepted += controller.nodes(topology.RESUME_QUEUE)
    assert accepted == [f"node{number}" for number in range(1, 9)]


def test_a_hook_too_keeps_only_the_rest(controller: Controller) -> None:
    controller.replace_queue(
        topology.RESUME_QUEUE, topology.COMMANDS, RESUME_KEY, max_length=1, **FULL
    )
    assert controller.hook("resume", "node[1-2]").code == 0
    assert controller.left() == ["node2"]
    assert "spooled, not yet published: the broker refused 1 messages" in controller.log


def test_a_problem_of_an_earlier_call_is_not_reported_as_the_own_one(
    controller: Controller,
) -> None:
    unroute(controller, topology.SUSPEND_QUEUE, "node.resume_fail.reported")
    controller.leave(call(1, kind=Kind.RESUME_FAIL))
    controller.leave(call(2))
    assert controller.hook("resume", "node3").code == 0
    assert controller.left() == ["node1"]
    assert controller.nodes(topology.RESUME_QUEUE) == ["node3", "node2"]
    assert "not yet published" not in controller.log
    assert "earlier calls are still spooled: 1 messages reached no queue" in controller.log


def test_an_unreadable_call_is_set_aside_reported_and_blocks_no_call(
    controller: Controller,
) -> None:
    controller.leave(call(2))
    (controller.spool / "00000000000000000001-x.call").write_text("torn")
    (controller.spool / "00000000000000000000-x.call").mkdir()
    assert sweep(controller) == 1
    assert controller.nodes(topology.RESUME_QUEUE) == ["node2"]
    assert "set aside as 00000000000000000001-x.unreadable" in controller.log
    assert "00000000000000000000-x.call: cannot be read: Is a directory" in controller.log


def test_a_hook_spends_at_most_a_second_on_earlier_calls(controller: Controller) -> None:
    for number in range(1, 41):
        controller.leave(call(number, f"node[{number}000-{number}999]"))
    began = time.monotonic()
    assert controller.hook("resume", "node1").code == 0
    assert time.monotonic() - began < IN_TIME
    sent = controller.nodes(topology.RESUME_QUEUE)
    assert sent[:2] == ["node1", "node1000"], "its own first, then the oldest"
    left = controller.left()
    assert left, "40,000 nodes are more than a second's work"
    # Messages unconfirmed after that second are sent again.
    assert set(sent[1:]).union(*map(expand, left)) == {f"node{n}" for n in range(1000, 41_000)}


def test_concurrent_hooks_and_relays_lose_nothing_and_publish_nothing_twice(
    controller: Controller,
) -> None:
    for number in range(1, 61):
        controller.leave(call(number, f"left{number}"))
    relays = [controller.site.start("relay", "--once") for _ in range(2)]
    with ThreadPoolExecutor(3) as pool:
        hooks = [pool.submit(controller.hook, "resume", f"own{n}") for n in range(6)]
        assert {each.result().code for each in hooks} == {0}
    assert {each.wait(30.0) for each in relays} == {0}
    assert controller.spooled == []
    published = controller.nodes(topology.RESUME_QUEUE)
    assert sorted(published) == sorted(
        [f"left{n}" for n in range(1, 61)] + [f"own{n}" for n in range(6)]
    )


def test_a_hook_killed_anywhere_loses_no_spooled_call(controller: Controller) -> None:
    """P1: kill -9 at points from its first line to its last; the relay publishes the rest."""
    turn, spooled, finished = 1, 0, False
    while not finished:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(turn), str(controller.folder / "slurm.conf")],
            check=False,
            cwd=ROOT,
        )
        finished = done.returncode == 0
        assert finished or done.returncode == -signal.SIGKILL
        left = controller.left()
        spooled += bool(left)
        assert sweep(controller) == 0
        ids = {parse_command(body).id for _, body in controller.site.drain(topology.RESUME_QUEUE)}
        assert len(ids) in {0, 3}, "all of a call or nothing"
        if left or finished:
            assert len(ids) == 3
        turn += max(1, turn // 6)
    assert spooled >= 3, "killed between spool and broker"


def test_a_file_of_another_user_is_reported_with_the_remedy(controller: Controller) -> None:
    """A hook was run manually as root, and the relay runs as SlurmUser."""
    controller.leave(call(1)).chmod(0)
    controller.leave(call(2))
    words = [
        sys.executable,
        "-m",
        "ops.cli.main",
        "--config",
        str(controller.site.config),
        "relay",
        "--once",
    ]
    if os.geteuid() == 0:
        # Like any other user: without the capability to read everything.
        words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *words]
    done = subprocess.run(words, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert controller.nodes(topology.RESUME_QUEUE) == ["node2"]
    assert "cannot be read: Permission denied; run the relay as SlurmUser" in controller.log
