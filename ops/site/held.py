"""What RabbitMQ says that it has, in the shapes of its management API. Unknown fields are ignored.

A field has a default only where the API leaves it out, or a version of it does.
"""

from typing import Any, TypeVar

import msgspec

Held = TypeVar("Held", bound=msgspec.Struct)


class HeldExchange(msgspec.Struct, frozen=True):
    """An exchange."""

    name: str
    type: str
    durable: bool
    arguments: dict[str, Any]
    policy: str | None = None


class HeldQueue(msgspec.Struct, frozen=True):
    """A queue; `members` and `online` are nodes, and only a quorum queue has them."""

    name: str
    durable: bool
    arguments: dict[str, Any]
    policy: str | None = None
    members: list[str] | None = None
    online: list[str] | None = None


class HeldBinding(msgspec.Struct, frozen=True):
    """A binding."""

    source: str
    destination: str
    routing_key: str


class HeldNode(msgspec.Struct, frozen=True):
    """A node of the cluster, running or not."""

    name: str


class HeldUser(msgspec.Struct, frozen=True):
    """A user; rabbitmqctl's lists have no hash."""

    name: str
    tags: list[str] = []
    password_hash: str = ""


class HeldPermission(msgspec.Struct, frozen=True):
    """A user's permissions in a virtual host."""

    user: str
    configure: str
    write: str
    read: str
    vhost: str = ""


class HeldLogins(msgspec.Struct, frozen=True):
    """What definitions say of users."""

    users: list[HeldUser]
    permissions: list[HeldPermission]


class HeldTopicPermission(msgspec.Struct, frozen=True):
    """A user's permissions for the routing keys of an exchange."""

    user: str
    exchange: str
    write: str
    read: str
