"""A whole installation in which each part has its own broker user; and what the holder of one can do."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from producers.amqp import connection_parameters
from schemas import headers
from schemas.commands import Kind
from schemas.envelope import parse
from schemas.events import Transition, event_from
from schemas.roles import Role
from tests.testbed.broker_roles import BrokerRoles
from tests.testbed.messages import command, event
from tests.testbed.simcloud.effects import Answer
from tests.testbed.simcloud.faults import Fault
from tests.testbed.waiting import until
from tests.testbed.whole_system import SystemPlan, WholeSystem
from workers.audit.record import CONFLICT, REFUSED
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.broker.roles import AUDIT_CONFLICT, NOT_ALLOWED
from workers.config.settings import load
from workers.tokens.client import TokenClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schemas.commands import PowerCommand
    from tests.testbed.broker import Broker
    from workers.audit.queries import Entry


@pytest.fixture
def system(run_dir: Path, broker: Broker, vhost: str) -> Iterator[WholeSystem]:
    """Hooks, workers and operators, each with its role's user."""
    folder = run_dir / "system"
    roles = BrokerRoles(broker, vhost, folder)
    with WholeSystem(folder, broker.amqp_url(vhost), SystemPlan(nodes=3), roles=roles) as running:
        yield running


def roles_of(system: WholeSystem) -> BrokerRoles:
    assert system.roles is not None
    return system.roles


def records(system: WholeSystem, type_: str) -> list[Entry]:
    return [entry for entry in system.records() if entry.type == type_]


def alarms(system: WholeSystem, name: str = NOT_ALLOWED) -> list[dict[str, Any]]:
    return [json.loads(one.body)["data"] for one in records(system, f"lamplighter.{name}.v1")]


def letters(system: WholeSystem) -> list[tuple[str, dict[str, Any], bytes]]:
    """The dead letters, left in their queue."""
    found: list[tuple[str, dict[str, Any], bytes]] = []
    with blocking_channel(connection_parameters(system.settings.broker, "test")) as channel:
        while True:
            method, properties, body = channel.basic_get(topology.DEAD_LETTER_QUEUE)
            if method is None:
                return found
            found.append((method.routing_key, properties.headers, body))


def fresh(kind: Kind, node: str = "node1") -> PowerCommand:
    return replace(command(node, kind=kind, generation=time.time_ns(), jobs=()), expiry=None)


def test_with_a_user_for_each_role_everything_works(system: WholeSystem) -> None:
    """Hooks, retries, dead letters, replays and operators' commands; P1 to P3 hold."""
    roles = roles_of(system)
    number = system.cloud.inject(Fault(effect=Answer(status=403), kind="start", server="node2"))
    once = system.cloud.inject(Fault(effect=Answer(status=500), kind="start", server="node3"))
    # a 5xx is the node's own fault only after the cloud has answered for another node
    assert system.request("resume", "node3").returncode == 0
    until(lambda: system.records(transitions=("parked", "retried")), 60, "the first failure")
    assert system.request("resume", "node[1-2]").returncode == 0
    until(lambda: system.records(transitions=("retried",)), 90, "a retry")
    system.cloud.remove_fault(once)
    until(lambda: system.outcomes() == {"completed": 2, "failed": 1}, 60, "the outcomes")
    system.cloud.remove_fault(number)
    listed = system.operator("dead-letters", "list", "--json")
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 1), listed.stderr
    replayed = system.operator("dead-letters", "replay", "--all", "--yes", "--reason", "mended")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    until(lambda: system.outcomes()["completed"] == 3, 60, "the replayed request")
    asked = [json.loads(e.body)["data"] for e in system.records() if e.transition == "accepted"]
    hook, power = roles.users.name(Role.HOOK), roles.users.name(Role.POWER)
    assert [one["sender"] for one in asked] == [hook] * 4
    assert {e.sender for e in system.records() if e.transition == "completed"} == {power}
    for arguments in (
        ("status",),
        ("tokens", "status"),
        ("tokens", "test", "main"),
        ("hold", "node3", "--reason", "test"),
        ("release", "node3"),
        ("suspend", "node3", "--yes", "--reason", "test"),
        ("nodes", "adopt", "node3"),
        ("relay", "--once"),
        ("relay", "--once", "--operators"),
    ):
        done = system.operator(*arguments)
        # here is no Slurm, and so no slurm worker
        wanted = int(arguments == ("status",))
        assert done.returncode == wanted, (arguments, done.stdout, done.stderr)
        assert "one broker user" not in done.stdout
    # queues for replies are no difference; the test bed's own queue is
    checked = system.operator("topology", "check").stdout
    assert "test.all_events" in checked
    assert "token.reply" not in checked
    operator = roles.users.name(Role.OPERATOR)
    until(lambda: "hold.released" in str([e.type for e in system.records()]), 10, "the notices")
    assert {e.sender for e in system.records() if ".hold." in e.type} == {operator}
    assert not alarms(system)
    assert system.depths() == {}


def test_a_reader_sees_and_does_nothing(system: WholeSystem) -> None:
    """Who cannot read the operator's password is a reader: status works, a request is refused."""
    operator = roles_of(system).users.secret_file(Role.OPERATOR)
    operator.rename(operator.with_suffix(".kept"))
    assert system.operator("status").returncode == 0
    assert system.operator("tokens", "status").returncode == 0
    for arguments in (
        ("tokens", "test", "main"),
        ("resume", "node1", "--reason", "test", "--timeout", "20s"),
        ("dead-letters", "list"),
        ("nodes", "retire", "node1", "--yes", "--reason", "test"),
        ("topology", "apply"),
    ):
        if arguments[0] == "topology":
            setup = roles_of(system).users.secret_file(Role.SETUP)
            setup.unlink()
        done = system.operator(*arguments)
        assert done.returncode not in {0, 1} or arguments[0] == "tokens", (arguments, done.stdout)
        assert done.returncode, arguments
    assert sorted(system.cloud.servers()) == system.nodes
    assert not system.outcomes()


def test_what_the_broker_cannot_refuse_is_quarantined_with_an_alarm(system: WholeSystem) -> None:
    """Commands: a body of another kind under an allowed key; forged headers; no name; by a detour."""
    roles = roles_of(system)
    retire = fresh(Kind.RETIRE).to_envelope().to_json()
    suspend = fresh(Kind.SUSPEND).to_envelope().to_json()
    operator = roles.users.name(Role.OPERATOR)
    resume_key, suspend_key = Kind.RESUME.routing_key, Kind.SUSPEND.routing_key
    forged: list[tuple[Role, str, str, bytes, dict[str, Any]]] = [
        (Role.HOOK, topology.COMMANDS, suspend_key, retire, {}),
        (Role.RELAY, topology.COMMANDS, resume_key, retire, {}),
        (Role.RESYNC, topology.COMMANDS, suspend_key, retire, {}),
        (Role.HOOK, topology.COMMANDS, resume_key, suspend, {"user_id": None}),
        (
            Role.HOOK,
            topology.COMMANDS,
            suspend_key,
            fresh(Kind.RETIRE, "node2").to_envelope().to_json(),
            {"headers": {headers.ASKED_BY: operator, headers.ROUND: 7}},
        ),
        # from a retry tier, by somebody who may bind it but never retries
        (Role.SETUP, "power.retry.5s", Kind.RETIRE.routing_key, retire, {}),
        (Role.CONSOLE, topology.REQUEUE, suspend_key, retire, {}),
        (Role.OPERATOR, topology.COMMANDS, Kind.BAKE.routing_key, retire, {}),
        (
            Role.HOOK,
            topology.COMMANDS,
            suspend_key,
            event(Transition.DISCARDED).to_envelope().to_json(),
            {},
        ),
    ]
    for role, exchange, key, body, properties in forged:
        roles.say(role, exchange, key, body, **properties)
    until(lambda: system.depths() == {topology.DEAD_LETTER_QUEUE: len(forged)}, 30, "quarantine")
    until(lambda: len(alarms(system)) == len(forged), 30, "an alarm for each")
    found = letters(system)
    assert sorted(body for _, _, body in found) == sorted(one[3] for one in forged)
    assert {key for key, _, _ in found} <= {"quarantine.power.resume", "quarantine.power.suspend"}
    assert {one[headers.CAUSE] for _, one, _ in found} == {"not_allowed"}
    assert sorted(system.cloud.servers()) == system.nodes
    # operators see why, and cannot replay it by accident; the workers go on
    listed = system.operator("dead-letters", "list", "--json")
    assert listed.stdout.count("not_allowed") >= len(forged)
    replayed = system.operator("dead-letters", "replay", "--all", "--yes", "--reason", "x")
    assert replayed.returncode == 1
    assert system.request("resume").returncode == 0
    until(lambda: system.outcomes() == {"completed": 3}, 30, "the workers to go on")
    assert system.depths() == {topology.DEAD_LETTER_QUEUE: len(forged)}


def test_a_forged_dead_letter_is_never_carried_out_and_ends_no_request(system: WholeSystem) -> None:
    """Operators see who sent it; they can export and discard it. Afterwards all is as before."""
    roles = roles_of(system)
    hook, operator = (roles.users.name(role) for role in (Role.HOOK, Role.OPERATOR))
    suspend, retire = (fresh(kind) for kind in (Kind.SUSPEND, Kind.RETIRE))
    again, suspend_key = topology.NOTIFY_AGAIN, Kind.SUSPEND.routing_key
    forged: list[tuple[Role, str, PowerCommand, dict[str, Any]]] = [
        (Role.NOTIFY, again, suspend, {}),
        (Role.NOTIFY, again, retire, {headers.WEBHOOK: "chat", headers.ROUND: 1}),
        (Role.NOTIFY, again, suspend, {headers.ASKED_BY: operator, headers.CAUSE: "quota"}),
        (Role.NOTIFY, "quarantine.notify", suspend, {headers.CAUSE_MESSAGE: "x"}),
        (Role.POWER, suspend_key, retire, {headers.ASKED_BY: hook}),
        (Role.POWER, Kind.RETIRE.routing_key, retire, {headers.ASKED_BY: hook}),
        (Role.POWER, suspend_key, retire, {headers.WEBHOOK: "chat"}),
    ]
    bodies = [asked.to_envelope().to_json() for _, _, asked, _ in forged]
    for (role, key, _, raw), body in zip(forged, bodies, strict=True):
        roles.say(role, topology.DEAD_LETTERS, key, body, headers=raw)
    listed = [json.loads(line) for line in system.operator("dead-letters", "list", "--json").stdout.splitlines()]  # fmt: skip
    assert len(listed) == len(forged)
    assert all("node" not in one and one["malformed"] for one in listed)
    named = [one for one in listed if one["cause"] == "not_allowed"]
    assert len(named) == len(forged) - 1  # what a worker has put in quarantine keeps its cause
    assert any(roles.users.name(Role.NOTIFY) in one["message"] for one in named)
    replayed = system.operator("dead-letters", "replay", "--all", "--yes", "--reason", "x")
    assert (replayed.returncode, replayed.stdout.count("refused")) == (1, len(forged) + 1)
    exported = system.operator("dead-letters", "export", "-").stdout.splitlines()
    kept = [base64.b64decode(json.loads(line)["body_base64"]) for line in exported]
    assert sorted(kept) == sorted(bodies)
    discarded = system.operator("dead-letters", "discard", "--all", "--yes", "--reason", "forged")
    assert discarded.returncode == 0, discarded.stdout + discarded.stderr
    until(lambda: system.depths() == {}, 20, "the discards")
    assert sorted(system.cloud.servers()) == system.nodes
    assert not system.outcomes()
    assert not [entry for entry in system.records() if entry.request_id is not None]


def test_forged_events_are_recorded_as_refused_and_displace_nothing(system: WholeSystem) -> None:
    """Events: forged decisions under another's key; second outcomes and rounds."""
    roles = roles_of(system)
    assert system.request("resume", "node1").returncode == 0
    system.settle()
    discarded = replace(event(Transition.DISCARDED), by="alice", reason="forged")
    body = discarded.to_envelope().to_json()
    forged = [
        (Role.TOKENS, "alarm.token"),
        (Role.AUDIT, NOT_ALLOWED),
        (Role.SNAPSHOT, "job.started"),
        (Role.RESYNC, "alarm.drift"),
        (Role.POWER, Transition.COMPLETED.routing_key),
    ]
    for role, key in forged:
        roles.say(role, topology.EVENTS, key, body)
    until(lambda: len(records(system, REFUSED)) == len(forged), 30, "the refused records")
    # what is said under the alarm's own key raises no alarm, or alarms would never end
    until(lambda: len(alarms(system)) == len(forged) - 1, 30, "the alarms")
    for record in records(system, REFUSED):
        assert base64.b64decode(json.loads(record.body)["data"]["message_base64"]) == body
        assert record.sender in {roles.users.name(role) for role, _ in forged}
    assert not system.records(transitions=("discarded",))

    (done,) = system.records(transitions=("completed",))
    failed = json.loads(done.body)
    failed["type"] = Transition.FAILED.type
    failed["data"]["cause"] = {"error": "forged", "message": "by who holds power's password"}
    other = json.loads(done.body)
    other["data"]["address"] = "10.66.6.6"
    for key, second in ((Transition.FAILED, failed), (Transition.COMPLETED, other)):
        roles.say(Role.POWER, topology.EVENTS, key.routing_key, json.dumps(second).encode())
    # a further round, by who may decide on dead letters: only a failed round has a next one
    true = event_from(parse(done.body))
    for round_, transition in ((2, Transition.DISCARDED), (3, Transition.FAILED)):
        more = replace(true, transition=transition, round=round_, by="alice", cause=None)
        sent = more.to_envelope().to_json()
        roles.say(Role.CONSOLE, topology.EVENTS, transition.routing_key, sent)
    until(lambda: len(records(system, CONFLICT)) == 4, 30, "the conflict records")
    until(lambda: len(alarms(system, AUDIT_CONFLICT)) == 4, 30, "their alarms")
    assert system.outcomes() == {"completed": 1}
    ends = ("completed", "failed", "discarded")
    assert [e.body for e in system.records(transitions=ends)] == [done.body]
    shown = system.operator("audit", "show", str(done.request_id))
    assert shown.stderr.count("CONFLICT") == 4, shown.stderr
    assert system.operator("audit", "verify").returncode == 0


def test_tokens_are_for_the_power_worker_and_the_operator(system: WholeSystem) -> None:
    """Others that may ask at all get reports only; a reply of anybody else cannot even be sent."""
    path = system.settings.path
    for role, gets in (
        (Role.POWER, True),
        (Role.OPERATOR, True),
        (Role.READER, False),
        (Role.CONSOLE, False),
    ):
        with TokenClient(load(path, role=role), f"{role} test") as client:
            assert client.report("main").trouble is None
            if gets:
                assert client.fetch("main").token
            else:
                with pytest.raises(Exception, match="may not request a token"):
                    client.fetch("main")
    until(lambda: len(alarms(system)) == 2, 20, "an alarm for each refusal")
    users = {roles_of(system).users.name(role) for role in (Role.READER, Role.CONSOLE)}
    assert {alarm["details"]["user"] for alarm in alarms(system)} == users


def test_what_an_operator_asks_while_the_broker_is_away_is_never_sent_by_a_hook(
    system: WholeSystem,
) -> None:
    """A retirement in the operators' own spool: the relay of the hooks leaves it alone."""
    config = system.settings.path
    text = config.read_text()
    away = text.replace(f":{roles_of(system).broker.port}/", ":1/")
    config.write_text(away)
    sent = system.operator("nodes", "retire", "node1", "--yes", "--reason", "test", "--no-wait")
    assert sent.returncode == 3
    assert "lamplighter relay --operators" in sent.stderr
    config.write_text(text)
    assert system.operator("relay", "--once").returncode == 0
    assert system.request("resume", "node2").returncode == 0
    system.settle()
    assert sorted(system.cloud.servers()) == system.nodes
    assert system.operator("relay", "--once", "--operators").returncode == 0
    until(lambda: len(system.records(transitions=("accepted",))) == 2, 20, "the retirement")
    assert not alarms(system)
