"""The messages that a hook publishes, read back from a real broker."""

from __future__ import annotations

import json
import time
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from producers import clock, hook
from producers.amqp import connection_parameters
from producers.call import HookCall
from producers.message import Batch, Message
from producers.outbox import messages
from producers.publish import publish
from schemas.commands import Kind, parse_command
from tests.testbed.controller import Controller
from tests.testbed.installation import Installation
from workers.broker import topology
from workers.broker.blocking import blocking_channel

if TYPE_CHECKING:
    from pathlib import Path

RESUME_KEY = "node.resume.requested"


@pytest.fixture
def controller(run_dir: Path, broker_url: str) -> Controller:
    site = Installation(run_dir / "site", broker_url)
    site.prepare()
    return Controller(site)


def run(controller: Controller, kind: Kind, nodes: str) -> int:
    """Run the hook in this process."""
    return hook.run(kind, ["hook", nodes], {"SLURM_CONF": str(controller.folder / "slurm.conf")})


def test_a_thousand_nodes_are_a_thousand_messages_of_one_call(controller: Controller) -> None:
    file = {"jobs": [{"job_id": n, "nodes": f"node{n}"} for n in range(1, 1001)]}
    assert controller.hook("resume", "node[1-1000]", content=json.dumps(file)).code == 0
    commands = [parse_command(body) for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    assert [command.node for command in commands] == [f"node{n}" for n in range(1, 1001)]
    assert all(command.node == f"node{command.jobs[0].job_id}" for command in commands)
    assert len({command.id for command in commands}) == 1000
    assert len({(command.generation, command.correlation_id) for command in commands}) == 1
    assert controller.spooled == []


def test_a_hook_that_was_stopped_while_it_connected_has_no_limit_in_the_past(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host stops the hook for longer than its time to publish, at each of its steps."""
    ticks = count(0.0, 10 * hook.PUBLISH_SECONDS)
    slow = SimpleNamespace(monotonic=lambda: next(ticks), time_ns=time.time_ns)
    monkeypatch.setattr(hook, "time", slow)
    assert run(controller, Kind.RESUME, "node1") == 0
    assert len(controller.site.drain(topology.RESUME_QUEUE)) == 1
    assert controller.spooled == []


def test_each_message_is_persistent_and_has_the_requests_id(controller: Controller) -> None:
    assert run(controller, Kind.RESUME, "node1") == 0
    with blocking_channel(
        connection_parameters(controller.site.settings.broker, "test")
    ) as channel:
        method, properties, body = channel.basic_get(topology.RESUME_QUEUE, auto_ack=True)
    assert method.exchange == topology.COMMANDS
    assert properties.delivery_mode == 2
    assert properties.content_type == "application/cloudevents+json"
    assert properties.message_id == parse_command(body).id


@pytest.mark.parametrize(
    ("kind", "queue"),
    [
        (Kind.RESUME, topology.RESUME_QUEUE),
        (Kind.SUSPEND, topology.SUSPEND_QUEUE),
        (Kind.RESUME_FAIL, topology.SUSPEND_QUEUE),
    ],
)
def test_each_kind_reaches_its_queue_with_its_expiry(
    controller: Controller, kind: Kind, queue: str
) -> None:
    assert run(controller, kind, "node1") == 0
    (body,) = [body for _, body in controller.site.drain(queue)]
    command = parse_command(body)
    assert command.kind is kind
    expiry = {Kind.RESUME: 600, Kind.SUSPEND: 60, Kind.RESUME_FAIL: None}[kind]
    if expiry is None:
        assert command.expiry is None
    else:
        assert command.expiry is not None
        # the hook's own start counts: on a busy machine, seconds
        assert expiry - 30 < (command.expiry - command.called) / 10**9 <= expiry


@pytest.mark.parametrize("kind", [Kind.RESUME, Kind.SUSPEND])
def test_a_call_has_its_own_time_where_the_clock_was_set_back(
    controller: Controller, kind: Kind
) -> None:
    """Generations stay ahead until the time has come there; Slurm's patience does not."""
    ahead = time.time_ns() + 3600 * 10**9
    with clock.locked(controller.site.settings.hook.state) as held:
        held.write(ahead)
    began = time.time_ns()
    assert run(controller, kind, "node1") == 0
    queue = {Kind.RESUME: topology.RESUME_QUEUE, Kind.SUSPEND: topology.SUSPEND_QUEUE}[kind]
    (body,) = [body for _, body in controller.site.drain(queue)]
    command = parse_command(body)
    assert command.generation > ahead
    assert began // 1000 * 1000 <= command.called <= time.time_ns()
    timeout = {Kind.RESUME: 600, Kind.SUSPEND: 60}[kind]
    assert command.expiry is not None
    assert command.expiry <= command.called + timeout * 10**9


@pytest.mark.parametrize("kind", [Kind.RESUME, Kind.SUSPEND])
def test_slurms_patience_runs_from_the_start_of_the_hook_not_from_its_stamp(
    controller: Controller, kind: Kind
) -> None:
    """A host without time for it takes seconds to start a program: Slurm has gone on meanwhile."""
    environ = {"LAMPLIGHTER_CONFIG": str(controller.site.config)}
    assert hook.run(kind, ["hook", "node1"], environ, age=45.0) == 0
    queue = {Kind.RESUME: topology.RESUME_QUEUE, Kind.SUSPEND: topology.SUSPEND_QUEUE}[kind]
    (body,) = [body for _, body in controller.site.drain(queue)]
    command = parse_command(body)
    called = command.called
    timeout = {Kind.RESUME: 600, Kind.SUSPEND: 60}[kind]
    assert command.expiry == called + (timeout - 45) * 10**9


def test_a_call_sent_twice_has_the_same_requests(controller: Controller) -> None:
    assert run(controller, Kind.RESUME, "node[1-2]") == 0
    first = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    command = parse_command(first[0])
    again = HookCall(
        kind=Kind.RESUME,
        cluster=command.cluster,
        nodes="node[1-2]",
        generation=command.generation,
        called=command.called,
        correlation_id=command.correlation_id,
        expiry=command.expiry,
        resume_file=None,
        origin=command.origin,
    )
    confirmed: list[bool] = []
    batch = Batch(messages(again), lambda: confirmed.append(True))
    assert hook.send(controller.site.settings.hook, [batch], 10.0) is None
    assert confirmed == [True]
    assert [body for _, body in controller.site.drain(topology.RESUME_QUEUE)] == first


def test_later_calls_have_higher_generations(controller: Controller) -> None:
    for _ in range(3):
        assert run(controller, Kind.RESUME, "node1") == 0
    bodies = [body for _, body in controller.site.drain(topology.RESUME_QUEUE)]
    generations = [parse_command(body).generation for body in bodies]
    assert generations == sorted(set(generations))


def test_each_batch_gets_its_messages_that_were_not_accepted(controller: Controller) -> None:
    controller.replace_queue(
        topology.RESUME_QUEUE,
        topology.COMMANDS,
        RESUME_KEY,
        queue_type="classic",
        overflow="reject-publish",
        max_length=2,
    )
    parameters = connection_parameters(controller.site.settings.broker, "test")
    reported: list[list[str]] = []

    def batch(*keys: str) -> Batch:
        messages = [
            Message(topology.COMMANDS, key, b"{}", f"{len(reported)}-{place}-{key}")
            for place, key in enumerate(keys)
        ]
        return Batch(
            messages,
            lambda: reported.append([]),
            lambda left: reported.append([message.routing_key for message in left]),
        )

    suspend = "node.suspend.requested"
    outcome = publish(
        parameters,
        [
            batch(RESUME_KEY, "nowhere", RESUME_KEY),
            batch(suspend, RESUME_KEY),
            batch(),
            batch(suspend),
        ],
        10.0,
    )
    assert reported == [["nowhere"], [RESUME_KEY], [], []]
    assert outcome.problem == "1 messages reached no queue: run lamplighter topology apply"
    assert not outcome.lost
