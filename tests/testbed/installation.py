"""A small installation for tests: lamplighter.toml on a fresh vhost, and the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from producers.amqp import connection_parameters
from tests.testbed.broker_address import broker_fields
from tests.testbed.commands import run_command
from tests.testbed.declared import declare_in_time
from tests.testbed.processes import Child
from tests.testbed.stores import STORES
from tests.testbed.terminal import typing
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.blocking import blocking_channel
from workers.broker.link import Link
from workers.config.settings import Settings, load
from workers.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from producers.message import Message

CLUSTER = "test"
# More tables: a group of three nodes on a cloud that nobody reaches.
ONE_GROUP = """
[clouds.one]
auth_url = "http://127.0.0.1:1/v3"
project_id = "p"
source = { type = "password", username = "u", password_command = ["true"] }
[groups.all]
nodes = "node[1-3]"
cloud = "one"
"""


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its standard output, parsed as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Installation:
    """A configuration in a folder, and what an operator or a worker does with it.

    Args:
        folder: for lamplighter.toml, the spool and SQLite's stores.
        broker_urls: with the password; several for the nodes of a cluster.
        broker: more lines of the table [broker].
        store: lines of the table [store]; by default those that name this run's stores.
        more: more tables.
    """

    def __init__(
        self,
        folder: Path,
        *broker_urls: str,
        broker: str = "",
        store: str = "",
        more: str = "",
    ) -> None:
        self.folder = folder
        self._started = 0
        self.config = folder / "lamplighter.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.touch(mode=0o600)
        address = "\n".join(broker_fields(folder, broker_urls))
        store = store or 'url = "{}"\naudit_url = "{}"'.format(*STORES.pair(folder))
        self.config.write_text(
            f'cluster = "{CLUSTER}"\n[broker]\n{address}\n{broker}\n[store]\n{store}\n'
            f'[hooks]\nspool = "spool"\nstate = "clock"\n{more}'
        )

    @cached_property
    def settings(self) -> Settings:
        """The settings, as a worker reads them."""
        return load(self.config)

    def make_hook_folders(self) -> None:
        """Create the hooks' folders, which no command creates."""
        for name in ("spool", "clock"):
            (self.folder / name).mkdir()

    def prepare(self) -> None:
        """Create the broker's topology and the stores' tables."""
        open_store(self.settings.store.url, "state").dispose()
        open_store(self.settings.store.audit_url, "audit").dispose()
        declare_in_time(
            connection_parameters(self.settings.broker, "test topology"),
            topology.topology(notify_keys=self.settings.notify_keys),
        )

    def publish(self, messages: Sequence[Message]) -> None:
        """Send messages and wait for the broker's confirms."""
        link = Link(connection_parameters(self.settings.broker, "test publisher"))
        link.start()
        try:
            assert link.wait_up(10.0)
            for future in [link.publish(message) for message in messages]:
                future.result(30.0)
        finally:
            link.stop()

    def depth(self, queue: str) -> int:
        """The number of messages that wait in a queue."""
        with blocking_channel(connection_parameters(self.settings.broker, "test depth")) as channel:
            return int(channel.queue_declare(queue=queue, passive=True).method.message_count)

    def consumers(self, queue: str) -> int:
        """The number of consumers of a queue."""
        with blocking_channel(
            connection_parameters(self.settings.broker, "test consumers")
        ) as channel:
            return int(channel.queue_declare(queue=queue, passive=True).method.consumer_count)

    def logs(self) -> str:
        """The output of the last command that was started in the background."""
        return (self.folder / f"{self._started}.log").read_text()

    def wait_depth(self, queue: str, count: int, timeout: float = 20.0) -> None:
        """Wait until `count` messages wait in a queue."""
        until(lambda: self.depth(queue) == count, timeout, f"{count} messages in {queue}")

    def drain(self, queue: str) -> list[tuple[dict[str, Any], bytes]]:
        """Consume all messages that wait in a queue; return their headers and bodies."""
        taken: list[tuple[dict[str, Any], bytes]] = []
        with blocking_channel(connection_parameters(self.settings.broker, "test drain")) as channel:
            count = channel.queue_declare(queue=queue, passive=True).method.message_count
            # A queue with a single active consumer does not answer basic.get.
            coming = channel.consume(queue, inactivity_timeout=10.0)
            for method, properties, body in islice(coming, count):
                assert method is not None, f"{queue} gave {len(taken)} of {count} messages"
                channel.basic_ack(method.delivery_tag)
                taken.append((properties.headers or {}, body))
        return taken

    def lamplighter(self, *arguments: str, typed: str = "", timeout: float = 60.0) -> CommandResult:
        """Run a command; `typed` is its standard input."""
        return self._run(*arguments, typed=typed, timeout=timeout)

    def answered(self, answer: str, *arguments: str) -> CommandResult:
        """Run a command; a person at a terminal answers its question."""
        with typing(f"{answer}\n") as terminal:
            return self._run(*arguments, stdin=terminal)

    def _run(self, *arguments: str, **how: Any) -> CommandResult:  # noqa: ANN401 - those of run_command
        done = run_command(["--config", self.config, *arguments], **how)
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> Child:
        """Run a command in the background, with a log file of its own."""
        self._started += 1
        return Child(self.argv(*arguments), log=self.folder / f"{self._started}.log")

    def argv(self, *arguments: str) -> list[str]:
        """The words of a command, for callers that run it themselves."""
        return [sys.executable, "-m", "ops.cli.main", "--config", str(self.config), *arguments]
