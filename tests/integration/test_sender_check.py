"""Every message that each role can publish, at the workers' intake on a real broker: none is lost."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from producers.amqp import connection_parameters
from producers.message import Message
from schemas import headers, ids
from schemas.commands import Kind
from schemas.envelope import Envelope
from schemas.events import Transition
from schemas.jobs import JobTransition
from schemas.roles import Role
from tests.testbed.broker_roles import BrokerRoles
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.broker.link import Link
from workers.broker.roles import ANY, AUTHORITIES, NOT_ALLOWED
from workers.broker.sender_check import SenderCheck
from workers.config.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.testbed.broker import Broker
    from workers.broker.delivery import Delivery

# Where the workers' checks stand; each event reaches more than one of them.
COMMAND_QUEUES = (topology.RESUME_QUEUE, topology.SUSPEND_QUEUE)
QUEUES = (
    *COMMAND_QUEUES,
    topology.AUDIT_QUEUE,
    topology.FEEDBACK_QUEUE,
    topology.NOTIFY_QUEUE,
    topology.SNAPSHOT_QUEUE,
)
COMMAND_KEYS = tuple(kind.routing_key for kind in Kind)
KEYS = (
    *COMMAND_KEYS,
    *(transition.routing_key for transition in (*Transition, *JobTransition)),
    *("node.registered", "slurm.snapshot.taken", "hold.placed", "clock.reset", "alarm.token"),
    *("alarm.drift", "message.undelivered", "group.image_unset", "group.dry_run"),
)


def message(exchange: str, key: str, said: str, **more: str) -> Message:
    """A message of type `said` under the routing key `key`."""
    id_ = ids.correlation_id()
    body = Envelope(id_, CLUSTER, f"lamplighter.{said}.v1", "node1", 1, "t", {})
    return Message(exchange, key, body.to_json(), id_, headers=more, mandatory=False)


@dataclass
class Site:
    """The roles' users, and a check before each queue that notes what it passes on."""

    roles: BrokerRoles
    settings: Settings
    admin: Installation
    passed: list[Delivery] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def check(self, settings: Settings, queues: Sequence[str] = QUEUES) -> None:
        """Stand before these queues, as the worker with these settings does."""
        parameters = connection_parameters(settings.broker, "check")
        check = SenderCheck(settings, lambda delivery: self.take(delivery, check))
        check.link = Link(parameters, dict.fromkeys(queues, 1000), check.receive)
        check.link.start()
        self.links.append(check.link)

    def check_all(self) -> None:
        """Stand before each queue with the role of its worker."""
        for role in (Role.POWER, Role.AUDIT, Role.SLURM, Role.NOTIFY, Role.RESYNC):
            self.check(load(self.settings.path, role=role), AUTHORITIES[role].reads)

    def take(self, delivery: Delivery, check: SenderCheck) -> None:
        self.passed.append(delivery)
        check.link.ack([delivery])

    def publish(self, role: Role, messages: list[Message]) -> None:
        """Publish as a role, stamped by its link; every one is confirmed."""
        broker = load(self.settings.path, role=role).broker
        link = Link(connection_parameters(broker, f"{role} test"))
        link.start()
        try:
            assert link.wait_up(10)
            for future in [link.publish(one) for one in messages]:
                future.result(30)
        finally:
            link.stop()

    def refused(self) -> list[Delivery]:
        return [delivery for delivery in self.passed if delivery.refusal is not None]

    def allowed(self, queue: str) -> list[Delivery]:
        return [d for d in self.passed if d.refusal is None and d.queue == queue]


@pytest.fixture
def site(run_dir: Path, broker: Broker, vhost: str) -> Iterator[Site]:
    admin = Installation(run_dir / "admin", broker.amqp_url(vhost))
    made = Installation(run_dir / "site", broker.amqp_url(vhost))
    roles = BrokerRoles(broker, vhost, made.folder)
    head, _, rest = made.config.read_text().partition("[broker]")
    made.config.write_text(f"{head}{roles.table}\n[store]{rest.partition('[store]')[2]}")
    roles.apply(made.config)
    found = Site(roles, load(made.config, role=Role.POWER), admin)
    yield found
    for link in found.links:
        link.stop()
    roles.remove()


def said(role: Role) -> Iterator[tuple[str, str]]:
    """Each exchange and routing key that the role may publish with, and a check stands behind."""
    behind = {topology.COMMANDS, topology.EVENTS, topology.SNAPSHOTS, topology.REQUEUE}
    for exchange, keys in AUTHORITIES[role].says.items():
        if exchange in behind and ANY not in keys:
            yield from ((exchange, key) for key in keys if key in KEYS)


def test_under_each_key_of_each_role_only_its_own_type_is_taken(site: Site) -> None:
    """All roles, their keys, all types: 1,400 messages, each passed on or quarantined once."""
    site.check_all()
    hook = site.roles.users.name(Role.HOOK)
    operator = site.roles.users.name(Role.OPERATOR)
    expected: Counter[str] = Counter()
    for role in Role:
        messages = []
        for (exchange, key), type_ in itertools.product(said(role), KEYS):
            # a replay comes with the name of the first sender, which is not the operator
            first = hook if role is Role.CONSOLE else operator
            more = {headers.ASKED_BY: first} if exchange == topology.REQUEUE else {}
            messages.append(message(exchange, key, type_, **more))
            where = "events" if exchange == topology.EVENTS else "others"
            expected[f"{where} {'allowed' if key == type_ else 'refused'}"] += 1
        if messages:
            site.publish(role, messages)
    assert expected["events refused"] > 500
    assert expected["others refused"] > 500

    def letters() -> int:
        return site.admin.depth(topology.DEAD_LETTER_QUEUE)

    until(lambda: letters() == expected["others refused"], 60, "all dead letters")
    until(lambda: len(site.refused()) == expected["events refused"], 60, "the audit's records")
    assert {delivery.queue for delivery in site.refused()} == {topology.AUDIT_QUEUE}
    taken = sum(len(site.allowed(queue)) for queue in (*COMMAND_QUEUES, topology.SNAPSHOT_QUEUE))
    assert taken == expected["others allowed"]
    # an alarm for each refused message: they are events too
    refused = expected["others refused"] + expected["events refused"]
    until(
        lambda: len(site.allowed(topology.AUDIT_QUEUE)) == expected["events allowed"] + refused,
        60,
        "the alarms",
    )
    alarms = [d for d in site.allowed(topology.AUDIT_QUEUE) if d.routing_key == NOT_ALLOWED]
    assert len(alarms) == refused
    for queue in QUEUES:
        site.admin.wait_depth(queue, 0)
    assert letters() == expected["others refused"]


def test_with_one_user_for_all_key_and_type_must_agree_too(run_dir: Path, broker_url: str) -> None:
    """On loopback without roles: any sender, but a retire under the key of a suspend is quarantined."""
    admin = Installation(run_dir / "admin", broker_url)
    admin.prepare()
    site = Site(BrokerRoles.__new__(BrokerRoles), admin.settings, admin)
    site.check(admin.settings)
    retire, suspend = Kind.RETIRE.routing_key, Kind.SUSPEND.routing_key
    admin.publish(
        [
            message(topology.COMMANDS, suspend, suspend),
            message(topology.COMMANDS, suspend, retire),
            message("", topology.SUSPEND_QUEUE, suspend),
            message(topology.EVENTS, "alarm.token", Transition.DISCARDED.routing_key),
        ]
    )
    try:
        admin.wait_depth(topology.DEAD_LETTER_QUEUE, 2)
        until(lambda: len(site.refused()) == 1, 20, "the forged event")
        assert [d.routing_key for d in site.allowed(topology.SUSPEND_QUEUE)] == [suspend]
    finally:
        site.links[0].stop()


def test_what_cannot_be_quarantined_stays_in_its_queue(site: Site) -> None:
    """The dead-letter queue refuses: nothing is acknowledged, and it is quarantined later."""
    admin = site.admin
    parameters = connection_parameters(admin.settings.broker, "test")
    with blocking_channel(parameters) as channel:
        channel.queue_delete(topology.DEAD_LETTER_QUEUE)
    site.check_all()
    key = Kind.SUSPEND.routing_key
    site.publish(Role.HOOK, [message(topology.COMMANDS, key, "node.retire.requested")])
    until(lambda: len(site.allowed(topology.AUDIT_QUEUE)) >= 2, 20, "a second try")
    for link in site.links:
        link.stop()
    site.links.clear()
    admin.wait_depth(topology.SUSPEND_QUEUE, 1)
    site.roles.apply(site.settings.path)
    site.check_all()
    admin.wait_depth(topology.DEAD_LETTER_QUEUE, 1)
    admin.wait_depth(topology.SUSPEND_QUEUE, 0)
