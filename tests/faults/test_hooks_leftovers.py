"""What hooks left in the spool: sent in order, by one, and never held up by what nobody takes."""

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
from producers.call import HookCall, expand
from schemas.commands import Kind, parse_command
from tests.testbed.controller import Controller
from tests.testbed.installation import CLUSTER, Installation
from workers.broker import topology
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from tests.testbed.broker import Broker

ROOT = Path(__file__).parents[2]
GENERATION = 1_767_323_045_678_901_000
FULL = {"overflow": "reject-publish", "queue_type": "classic"}
RESUME_KEY = "node.resume.requested"
# A hook that is killed -9 before the line of the producers' code whose turn it is.
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


def test_what_is_left_is_sent_in_the_order_of_asking(controller: Controller) -> None:
    for number in (3, 1, 2):
        controller.leave(call(number))
    assert sweep(controller) == 0
    assert controller.spooled == []
    assert controller.nodes(topology.RESUME_QUEUE) == ["node1", "node2", "node3"]
    assert "relay: sent 3 calls in" in controller.log


def test_what_reaches_no_queue_does_not_hold_up_what_was_asked_later(
    controller: Controller,
) -> None:
    unroute(controller, topology.SUSPEND_QUEUE, "node.resume_fail.reported")
    controller.leave(call(1, kind=Kind.RESUME_FAIL))
    controller.leave(call(2))
    assert sweep(controller) == 1
    assert controller.left() == ["node1"]
    assert controller.nodes(topology.RESUME_QUEUE) == ["node2"]
    assert "run lamplighter topology apply" in controller.log


def test_what_a_full_queue_refuses_does_not_hold_up_what_was_asked_later(
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


def test_what_the_broker_answers_by_closing_does_not_hold_up_what_was_asked_later(
    run_dir: Path, broker: Broker, vhost: str
) -> None:
    """A permission on the routing key is such a case: the broker closes the channel."""
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


def test_a_call_taken_in_part_shrinks_to_the_rest_and_is_sent_once(
    controller: Controller,
) -> None:
    """Else a queue with little room would take the same first nodes at every sweep."""
    controller.replace_queue(
        topology.RESUME_QUEUE, topology.COMMANDS, RESUME_KEY, max_length=3, **FULL
    )
    controller.leave(call(1, "node[1-8]"))
    taken: list[str] = []
    for left in (["node4,node5,node6,node7,node8"], ["node7,node8"], []):
        sweep(controller)
        assert controller.left() == left
        taken += controller.nodes(topology.RESUME_QUEUE)
    assert taken == [f"node{number}" for number in range(1, 9)]


def test_a_hook_too_keeps_only_what_was_not_taken(controller: Controller) -> None:
    controller.replace_queue(
        topology.RESUME_QUEUE, topology.COMMANDS, RESUME_KEY, max_length=1, **FULL
    )
    assert controller.hook("resume", "node[1-2]").code == 0
    assert controller.left() == ["node2"]
    assert "spooled, not yet published: the broker refused 1 messages" in controller.log


def test_a_leftover_in_trouble_is_not_told_as_the_own_request(controller: Controller) -> None:
    unroute(controller, topology.SUSPEND_QUEUE, "node.resume_fail.reported")
    controller.leave(call(1, kind=Kind.RESUME_FAIL))
    controller.leave(call(2))
    assert controller.hook("resume", "node3").code == 0
    assert controller.left() == ["node1"]
    assert controller.nodes(topology.RESUME_QUEUE) == ["node3", "node2"]
    assert "not yet published" not in controller.log
    assert "earlier calls are still spooled: 1 messages reached no queue" in controller.log


def test_what_cannot_be_read_is_set_aside_aloud_and_holds_up_nothing(
    controller: Controller,
) -> None:
    controller.leave(call(2))
    (controller.spool / "00000000000000000001-x.call").write_text("torn")
    (controller.spool / "00000000000000000000-x.call").mkdir()
    assert sweep(controller) == 1
    assert controller.nodes(topology.RESUME_QUEUE) == ["node2"]
    assert "set aside as 00000000000000000001-x.unreadable" in controller.log
    assert "00000000000000000000-x.call: cannot be read: Is a directory" in controller.log


def test_a_hook_spends_a_second_on_leftovers_and_no_more(controller: Controller) -> None:
    for number in range(1, 41):
        controller.leave(call(number, f"node[{number}000-{number}999]"))
    began = time.monotonic()
    assert controller.hook("resume", "node1").code == 0
    assert time.monotonic() - began < 5
    sent = controller.nodes(topology.RESUME_QUEUE)
    assert sent[:2] == ["node1", "node1000"], "its own first, then the oldest"
    left = controller.left()
    assert left, "40,000 nodes are more than a second's work"
    # What was on its way when the second was over is sent again.
    assert set(sent[1:]).union(*map(expand, left)) == {f"node{n}" for n in range(1000, 41_000)}


def test_hooks_and_a_relay_at_once_lose_nothing_and_send_nothing_twice(
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
    asked = controller.nodes(topology.RESUME_QUEUE)
    assert sorted(asked) == sorted(
        [f"left{n}" for n in range(1, 61)] + [f"own{n}" for n in range(6)]
    )


def test_killed_anywhere_a_hook_loses_nothing_it_has_spooled(controller: Controller) -> None:
    """P1: kill -9 at points from its first line to its last; the relay sends what it left."""
    turn, spooled, through = 1, 0, False
    while not through:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(turn), str(controller.folder / "slurm.conf")],
            check=False,
            cwd=ROOT,
        )
        through = done.returncode == 0
        assert through or done.returncode == -signal.SIGKILL
        left = controller.left()
        spooled += bool(left)
        assert sweep(controller) == 0
        ids = {parse_command(body).id for _, body in controller.site.drain(topology.RESUME_QUEUE)}
        assert len(ids) in {0, 3}, "all of a call or nothing"
        if left or through:
            assert len(ids) == 3
        turn += max(1, turn // 6)
    assert spooled >= 3, "killed between spool and broker"


def test_a_file_of_another_user_is_said_with_its_remedy(controller: Controller) -> None:
    """A hook was run by hand as root, and the relay runs as SlurmUser."""
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
        # As anybody else is: without the power to read everything.
        words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *words]
    done = subprocess.run(words, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert controller.nodes(topology.RESUME_QUEUE) == ["node2"]
    assert "cannot be read: Permission denied; run the relay as SlurmUser" in controller.log
