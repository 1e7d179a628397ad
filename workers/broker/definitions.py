"""The roles' users and permissions, as RabbitMQ's definitions and as rabbitmqctl's commands. Pure."""

import base64
import hashlib
import secrets
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from producers.broker_settings import BrokerUsers
from schemas.roles import Role
from workers.broker.roles import permissions
from workers.broker.topology import Topology

_HASHING = "rabbit_password_hashing_sha256"


def tags(role: Role) -> list[str]:
    """A role's tags; with `management`, the management API lets it read what it may use."""
    return ["management"] if role is Role.SETUP else []


def definitions(
    users: BrokerUsers, vhost: str, wanted: Topology, passwords: Mapping[Role, str]
) -> dict[str, Any]:
    """Everything that the virtual host needs; passwords as salted hashes only.

    A user without a password can log in with a certificate only
    (rabbitmq.com/docs/definitions, rabbitmq.com/docs/passwords).
    """
    allowed = {users.name(role): permissions(role, users, wanted) for role in Role}
    durable = {"vhost": vhost, "durable": True, "auto_delete": False}
    return {
        "vhosts": [{"name": vhost}],
        "users": [
            {
                "name": users.name(role),
                "password_hash": _hash(passwords[role]) if role in passwords else "",
                "hashing_algorithm": _HASHING,
                "tags": tags(role),
            }
            for role in Role
        ],
        "permissions": [
            {
                "user": user,
                "vhost": vhost,
                **{name: getattr(one, name) for name in ("configure", "write", "read")},
            }
            for user, one in allowed.items()
        ],
        "topic_permissions": [
            {"user": user, "vhost": vhost, "exchange": exchange, "write": write, "read": read}
            for user, one in allowed.items()
            for exchange, (write, read) in one.topics.items()
        ],
        "exchanges": [
            {**durable, "name": one.name, "type": one.type, "internal": False, "arguments": {}}
            for one in wanted.exchanges
        ],
        "queues": [
            {**durable, "name": one.name, "arguments": dict(one.arguments)} for one in wanted.queues
        ],
        "bindings": [
            {
                "source": binding.exchange,
                "vhost": vhost,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
            }
            for binding in wanted.bindings
        ],
    }


def commands(users: BrokerUsers, vhost: str, wanted: Topology) -> Iterator[str]:
    """The commands that create virtual host, users and permissions; none shows a password."""
    yield _ctl("add_vhost", vhost)
    for role in Role:
        name = users.name(role)
        yield from _login(users, role, name)
        if tags(role):
            yield _ctl("set_user_tags", name, *tags(role))
        one = permissions(role, users, wanted)
        yield _ctl("set_permissions", "-p", vhost, name, one.configure, one.write, one.read)
        yield _ctl("clear_topic_permissions", "-p", vhost, name)
        for exchange, (write, read) in one.topics.items():
            yield _ctl("set_topic_permissions", "-p", vhost, name, exchange, write, read)


def _login(users: BrokerUsers, role: Role, name: str) -> Iterator[str]:
    if users.certificates:
        yield f"head -c 24 /dev/urandom | base64 | {_ctl('add_user', name)}"
        yield _ctl("clear_password", name)
    else:
        yield f"{_ctl('add_user', name)} < {shlex.quote(str(users.secret_file(role)))}"


def _ctl(*words: str) -> str:
    return shlex.join(("rabbitmqctl", *words))


def is_hash_of(hashed: str, password: str) -> bool:
    """Whether RabbitMQ's hash of a password, with its salt in front, is of this one."""
    try:
        salt = base64.b64decode(hashed, validate=True)[:4]
    except ValueError:
        return False
    return _hash(password, salt) == hashed


def _hash(password: str, salt: bytes | None = None) -> str:
    salt = secrets.token_bytes(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
