"""Broker users for the roles, as an administrator creates them, and attackers who hold one of them."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pika

from producers.broker_settings import BrokerUsers
from schemas.roles import Role
from tests.testbed.commands import run_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker


class BrokerRoles:
    """The roles' users on a virtual host; their names are of this test only.

    Args:
        broker: with a management API.
        vhost: of the installation.
        folder: of lamplighter.toml.
    """

    def __init__(self, broker: Broker, vhost: str, folder: Path) -> None:
        self.broker = broker
        self.vhost = vhost
        self.users = BrokerUsers(folder / "users", f"test-{secrets.token_hex(4)}-")

    @property
    def table(self) -> str:
        """The table [broker], inline."""
        url = f"amqp://{self.broker.host}:{self.broker.port}/{quote(self.vhost, safe='')}"
        users = f'{{ folder = "users", prefix = "{self.users.prefix}" }}'
        return (
            f'broker = {{ url = "{url}", management_url = "{self.broker.management_url}", '
            f"users = {users} }}"
        )

    def apply(self, config: Path) -> str:
        """Create users and topology with `lamplighter broker users`; its output."""
        words = ("broker", "users", "--apply", "--admin", self.broker.admin.name)
        done = run_command(["--config", config, *words], typed=self.broker.admin.password)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def remove(self) -> None:
        """Delete the users."""
        for role in Role:
            self.broker.api.delete_user(self.users.name(role))

    def url(self, role: Role) -> str:
        """The URL with which a role logs in."""
        password = self.users.secret_file(role).read_text().strip()
        login = f"{self.users.name(role)}:{quote(password, safe='')}"
        place = f"{self.broker.host}:{self.broker.port}/{quote(self.vhost, safe='')}"
        return f"amqp://{login}@{place}"

    @contextmanager
    def connection(self, role: Role) -> Iterator[Any]:
        """A connection with what a role holds, and nothing else."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url(role)))
        try:
            yield connection
        finally:
            if connection.is_open:
                connection.close()

    def say(self, role: Role, exchange: str, key: str, body: bytes, **properties: Any) -> None:  # noqa: ANN401 - pika's
        """Publish with a role's login, and wait for the confirm; raises what pika raises."""
        with self.connection(role) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            given = {"user_id": self.users.name(role), "delivery_mode": 2, **properties}
            channel.basic_publish(exchange, key, body, pika.BasicProperties(**given))
