"""The roles' users on a real RabbitMQ: each can do its part, and nothing else."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions
import pytest

from schemas.roles import Role
from tests.testbed.broker_roles import BrokerRoles
from tests.testbed.installation import Installation
from tests.testbed.rabbitmq_node import SCRIPTS
from workers.broker import topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker, PrivateBroker

SAYS = {
    "probe the broker": (topology.COMMANDS, "probe"),
    "request a resume": (topology.COMMANDS, "node.resume.requested"),
    "request a suspend": (topology.COMMANDS, "node.suspend.requested"),
    "report a failed resume": (topology.COMMANDS, "node.resume_fail.reported"),
    "request a deployment": (topology.COMMANDS, "node.deploy.requested"),
    "request a retirement": (topology.COMMANDS, "node.retire.requested"),
    "request an adoption": (topology.COMMANDS, "node.adopt.requested"),
    "request an image": (topology.COMMANDS, "node.bake.requested"),
    "replay a resume": (topology.REQUEUE, "node.resume.requested"),
    "replay a retirement": (topology.REQUEUE, "node.retire.requested"),
    "replay a notification": (topology.REQUEUE, "notify.again"),
    "retry in 5 s": ("power.retry.5s", "node.retire.requested"),
    "retry in 10 min": ("power.retry.10m", "node.resume.requested"),
    "dead-letter a request": (topology.DEAD_LETTERS, "node.suspend.requested"),
    "dead-letter a notification": (topology.DEAD_LETTERS, "notify.again"),
    **{
        f"quarantine what {queue} delivered": (topology.DEAD_LETTERS, f"quarantine.{queue}")
        for queue in ("power.resume", "power.suspend", "slurm.events", "notify", "resync", "audit")
    },
    "say accepted": (topology.EVENTS, "node.request.accepted"),
    "say completed": (topology.EVENTS, "node.request.completed"),
    "say superseded": (topology.EVENTS, "node.request.superseded"),
    "say failed": (topology.EVENTS, "node.request.failed"),
    "say replayed": (topology.EVENTS, "node.request.replayed"),
    "say discarded": (topology.EVENTS, "node.request.discarded"),
    "say retried": (topology.EVENTS, "node.request.retried"),
    "say parked": (topology.EVENTS, "node.request.parked"),
    "say that a message was rejected": (topology.EVENTS, "message.rejected"),
    "say that a message was replayed": (topology.EVENTS, "message.replayed"),
    "say that a message was discarded": (topology.EVENTS, "message.discarded"),
    "say which job of OPUS a job is": (topology.EVENTS, "job.identified"),
    "say that a job ended": (topology.EVENTS, "job.ended"),
    "say that a job failed": (topology.EVENTS, "job.failed"),
    "say that a job started": (topology.EVENTS, "job.started"),
    "say that a job waits": (topology.EVENTS, "job.waiting"),
    "say that a job is over": (topology.EVENTS, "job.finished"),
    "say that a node registered": (topology.EVENTS, "node.registered"),
    "say that a hold is placed": (topology.EVENTS, "hold.placed"),
    "say that a hold is lifted": (topology.EVENTS, "hold.released"),
    "say that the clock was reset": (topology.EVENTS, "clock.reset"),
    "say that a group lost its image": (topology.EVENTS, "group.image_unset"),
    "say that a group is dry": (topology.EVENTS, "group.dry_run"),
    "say that a notification failed": (topology.EVENTS, "message.undelivered"),
    "alarm about a login": (topology.EVENTS, "alarm.token"),
    "alarm about drift": (topology.EVENTS, "alarm.drift"),
    "alarm about a doubted cloud": (topology.EVENTS, "alarm.cloud_doubted"),
    "alarm about a missing snapshot": (topology.EVENTS, "alarm.no_snapshot"),
    "alarm about a refused request": (topology.EVENTS, "alarm.request_refused"),
    "alarm about two outcomes": (topology.EVENTS, "alarm.audit_conflict"),
    "alarm about what is not allowed": (topology.EVENTS, "alarm.not_allowed"),
    "send a snapshot": (topology.SNAPSHOTS, "slurm.snapshot.taken"),
    "ask for a token": (topology.TOKENS, "token.requested"),
    "answer with a token": (topology.TOKEN_REPLIES, "token.reply.somebody.1"),
    "write to the queue of suspends": ("", topology.SUSPEND_QUEUE),
    "write to the audit's queue": ("", topology.AUDIT_QUEUE),
    "write to the token service's queue": ("", topology.TOKEN_QUEUE),
}
READS = {
    f"{verb} {queue}": (verb, queue)
    for verb in ("consume", "purge")
    for queue in (
        topology.RESUME_QUEUE,
        topology.SUSPEND_QUEUE,
        "power.retry.2m",
        topology.DEAD_LETTER_QUEUE,
        topology.AUDIT_QUEUE,
        topology.FEEDBACK_QUEUE,
        topology.NOTIFY_QUEUE,
        topology.SNAPSHOT_QUEUE,
        topology.TOKEN_QUEUE,
    )
}
CHANGES: dict[str, Callable[[Any], Any]] = {
    "create a queue": lambda channel: channel.queue_declare("anything"),
    "create an exchange": lambda channel: channel.exchange_declare("anything", "topic"),
    "listen to all events": lambda channel: (
        channel.queue_declare("token.reply.spy.1", exclusive=True),
        channel.queue_bind("token.reply.spy.1", topology.EVENTS, "#"),
    ),
    "speak for the operator": lambda channel: channel.basic_publish(
        topology.EVENTS, "hold.placed", b"", pika.BasicProperties(user_id="admin")
    ),
}
# Only setup may do these; and they change what the next role finds.
SETUPS: dict[str, Callable[[Any], Any]] = {
    "unbind the audit": lambda channel: channel.queue_unbind(
        topology.AUDIT_QUEUE, topology.EVENTS, "#"
    ),
    "bind the audit": lambda channel: channel.queue_bind(
        topology.AUDIT_QUEUE, topology.EVENTS, "#"
    ),
    "delete the notify queue": lambda channel: channel.queue_delete(topology.NOTIFY_QUEUE),
    "delete the exchange of tokens": lambda channel: channel.exchange_delete(topology.TOKENS),
}

_HOOK = {"request a resume", "request a suspend", "report a failed resume"}
_DECISIONS = {
    *("say that a message was replayed", "say that a message was discarded"),
    *("say replayed", "say discarded", "say failed", "alarm about what is not allowed"),
    *("replay a resume", "replay a notification", "ask for a token"),
    *("consume power.dlq", "purge power.dlq"),
}
_HOLDS = {"say that a hold is placed", "say that a hold is lifted"}
# Written by hand, and not from the table that grants it.
ALLOWED: dict[Role, set[str]] = {
    Role.HOOK: _HOOK,
    Role.RELAY: _HOOK,
    Role.POWER: {
        *("retry in 5 s", "retry in 10 min", "dead-letter a request", "ask for a token"),
        *("say accepted", "say completed", "say superseded", "say failed"),
        *("say retried", "say parked", "say that a message was rejected"),
        *("quarantine what power.resume delivered", "quarantine what power.suspend delivered"),
        "alarm about a refused request",
        "alarm about what is not allowed",
        *("consume power.resume", "purge power.resume"),
        *("consume power.suspend", "purge power.suspend"),
    },
    Role.TOKENS: {
        *("alarm about a login", "alarm about what is not allowed", "answer with a token"),
        *("consume token.rpc", "purge token.rpc"),
    },
    Role.SLURM: {
        *("say that a job failed", "alarm about what is not allowed"),
        *("say which job of OPUS a job is", "say that a group is dry"),
        "quarantine what slurm.events delivered",
        *("consume slurm.events", "purge slurm.events"),
    },
    Role.SNAPSHOT: {
        *("send a snapshot", "say that a job started", "say that a node registered"),
        *("say that a job waits", "say that a job is over", "say that a job ended"),
        "say which job of OPUS a job is",
    },
    Role.RESYNC: {
        *("request a resume", "request a suspend"),
        *("alarm about drift", "alarm about what is not allowed"),
        *("alarm about a doubted cloud", "alarm about a missing snapshot"),
        "quarantine what resync delivered",
        *("consume resync", "purge resync"),
    },
    Role.AUDIT: {
        *("alarm about two outcomes", "alarm about what is not allowed"),
        *("consume audit", "purge audit"),
    },
    Role.NOTIFY: {
        *("dead-letter a notification", "say that a notification failed"),
        "quarantine what notify delivered",
        "alarm about what is not allowed",
        *("consume notify", "purge notify"),
    },
    Role.CONSOLE: _DECISIONS | _HOLDS,
    Role.OPERATOR: {
        *_DECISIONS,
        *_HOLDS,
        "probe the broker",
        *(action for action in SAYS if action.startswith(("request ", "report "))),
        "replay a retirement",
        *("say that the clock was reset", "say that a group lost its image"),
    },
    Role.READER: {"ask for a token"},
    # To create queues that dead-letter is to read from them, and retry tiers are exchanges too.
    Role.SETUP: {
        *("retry in 5 s", "retry in 10 min"),
        *(f"{verb} power.resume" for verb in ("consume", "purge")),
        *(f"{verb} power.suspend" for verb in ("consume", "purge")),
        *(f"{verb} power.retry.2m" for verb in ("consume", "purge")),
        *SETUPS,
    },
}


@pytest.fixture
def roles(run_dir: Path, broker: Broker, vhost: str) -> Iterator[BrokerRoles]:
    """A virtual host with the topology and a user for each role."""
    site, made = installed(run_dir, broker, vhost)
    made.apply(site.config)
    yield made
    made.remove()


def installed(run_dir: Path, broker: Broker, vhost: str) -> tuple[Installation, BrokerRoles]:
    """An installation with roles, of which the broker knows nothing yet."""
    site = Installation(run_dir / "site", broker.amqp_url(vhost))
    made = BrokerRoles(broker, vhost, site.folder)
    text = site.config.read_text().partition("[broker]")
    rest = text[2].partition("[store]")
    site.config.write_text(f"{text[0]}{made.table}\n[store]{rest[2]}")
    return site, made


def try_all(connection: Any, user: str) -> set[str]:  # noqa: ANN401 - pika has no types
    """The actions that the broker lets this connection's user do."""
    stamped = pika.BasicProperties(user_id=user)
    actions: dict[str, Callable[[Any], Any]] = {
        **{
            name: partial(_publish, exchange=exchange, key=key, properties=stamped)
            for name, (exchange, key) in SAYS.items()
        },
        **{name: partial(_read, verb=verb, queue=queue) for name, (verb, queue) in READS.items()},
        **CHANGES,
        **SETUPS,
    }
    return {name for name, action in actions.items() if succeeds(connection, action)}


def _publish(channel: Any, exchange: str, key: str, properties: Any) -> None:  # noqa: ANN401
    channel.basic_publish(exchange, key, b"{}", properties)


def _read(channel: Any, verb: str, queue: str) -> None:  # noqa: ANN401 - pika has no types
    if verb == "purge":
        channel.queue_purge(queue)
    else:
        channel.basic_cancel(channel.basic_consume(queue, lambda *_: None))


def succeeds(connection: Any, action: Callable[[Any], Any]) -> bool:  # noqa: ANN401 - pika has no types
    """Whether the broker lets the user do it; it closes the channel if not."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        action(channel)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code not in {403, 406}:  # refused; the user id is not the user's
            raise
        return False
    channel.close()
    return True


def test_each_role_can_do_its_part_and_the_broker_refuses_everything_else(
    roles: BrokerRoles,
) -> None:
    """13 roles, 79 actions each: what is allowed is written above by hand."""
    assert len(Role) == len(ALLOWED) >= 11
    assert len(SAYS) + len(READS) + len(CHANGES) + len(SETUPS) >= 25
    found: dict[Role, set[str]] = {}
    for role in Role:  # setup is the last: it deletes things
        with roles.connection(role) as connection:
            found[role] = try_all(connection, roles.users.name(role))
    assert found == ALLOWED


def test_check_names_what_differs_from_the_roles(roles: BrokerRoles, run_dir: Path) -> None:
    """A password or permission that somebody changed by hand is found: missing, wider, foreign."""
    site = Installation.__new__(Installation)
    site.folder, site.config = run_dir / "site", run_dir / "site" / "lamplighter.toml"
    admin = roles.broker.admin

    def check() -> tuple[int, str]:
        result = site.lamplighter("topology", "check", "--admin", admin.name, typed=admin.password)
        return result.code, result.out + result.err

    # the administrator of the test broker has permissions here: it is no role's, and may
    assert check() == (0, "no differences\n")
    hook, slurm = (roles.users.name(role) for role in (Role.HOOK, Role.SLURM))
    api = roles.broker.api
    api.permit(hook, roles.vhost, "^$", ".*", "^$")
    api.delete_user(slurm)
    stranger = f"{roles.users.prefix}stranger"
    api.put_user(stranger, "x")
    api.permit(stranger, roles.vhost, ".*", ".*", ".*")
    code, out = check()
    assert code == 1
    assert f"user {hook}: write is .*, should be ^(power\\.commands)$" in out
    assert f"user {slurm}: missing; run: lamplighter broker users --apply" in out
    assert f"user {stranger}: configure is .*, should be none" in out
    api.delete_user(stranger)
    roles.apply(site.config)
    assert check() == (0, "no differences\n")


def test_passwords_are_for_their_owner_only_and_printed_nowhere(
    roles: BrokerRoles, run_dir: Path
) -> None:
    """Neither commands nor definitions show a password; running them again changes none."""
    site = Installation.__new__(Installation)
    site.folder, site.config = run_dir / "site", run_dir / "site" / "lamplighter.toml"
    passwords = {}
    for role in Role:
        file = roles.users.secret_file(role)
        assert file.stat().st_mode & 0o777 == 0o600
        passwords[role] = file.read_text().strip()
    assert len(set(passwords.values())) == len(Role)
    commands = site.lamplighter("broker", "users")
    definitions = site.lamplighter("broker", "users", "--definitions")
    assert (commands.code, definitions.code) == (0, 0)
    assert not [p for p in passwords.values() if p in commands.out + definitions.out]
    assert {user["name"] for user in json.loads(definitions.out)["users"]} == {
        roles.users.name(role) for role in Role
    }
    assert f"rabbitmqctl add_user {roles.users.name(Role.HOOK)} < " in commands.out
    again = site.lamplighter("broker", "users", "--passwords")
    assert (again.code, again.out) == (0, "")
    assert roles.users.secret_file(Role.HOOK).read_text().strip() == passwords[Role.HOOK]


def test_the_printed_commands_create_the_users_as_they_are(
    private_broker: PrivateBroker, run_dir: Path
) -> None:
    """Run by a shell, as an administrator would; of two roles, which have a command of each kind."""
    vhost = private_broker.create_vhost("printed")
    site, roles = installed(run_dir, private_broker, vhost)
    assert site.lamplighter("broker", "users", "--passwords").code == 0
    printed = site.lamplighter("broker", "users").out.splitlines()
    hook, setup = (roles.users.name(role) for role in (Role.HOOK, Role.SETUP))
    mine = [line for line in printed if f" {hook} " in f"{line} " or f" {setup} " in f"{line} "]
    kinds = {line.split()[1] for line in printed}
    assert {line.split()[1] for line in mine} == kinds - {"add_vhost"}  # the virtual host is there
    environment = private_broker.node.environment()
    environment["PATH"] = f"{SCRIPTS}:{environment['PATH']}"
    script = "\n".join(mine)
    done = subprocess.run(
        ["/bin/sh", "-euc", script], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    admin = private_broker.admin
    told = site.lamplighter("topology", "check", "--admin", admin.name, typed=admin.password).out
    assert f"user {roles.users.name(Role.POWER)}: missing" in told, "the check has looked"
    assert hook not in told
    assert setup not in told
    for role in (Role.HOOK, Role.SETUP):
        with roles.connection(role) as connection:
            assert connection.is_open
