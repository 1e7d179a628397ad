"""A script that acts as slurmctld for a whole system: it calls the real hooks and publishes snapshots."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from producers.amqp import connection_parameters
from producers.message import Batch
from producers.publish import publish
from producers.snapshot import messages, take
from schemas.snapshot import SlurmNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.testbed.whole_system import WholeSystem
    from workers.config.settings import Settings

ON, OFF = "IDLE+CLOUD", "IDLE+CLOUD+POWERED_DOWN"


def publish_snapshot(settings: Settings, read: Callable[[], list[SlurmNode]]) -> None:
    """Publish a snapshot of what `read` says of Slurm's nodes."""
    taken = take(settings.cluster, settings.hook.state, read)
    sent = publish(
        connection_parameters(settings.broker, "test controller"),
        [Batch(messages(taken, 30), lambda: None)],
        10.0,
    )
    assert sent.problem is None, sent.problem


@contextmanager
def snapshots(settings: Settings, read: Callable[[], list[SlurmNode]]) -> Iterator[None]:
    """Publish a snapshot each second: a deployment ends only while they come."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(1.0):
            publish_snapshot(settings, read)

    publisher = threading.Thread(target=go_on)
    publisher.start()
    try:
        yield
    finally:
        over.set()
        publisher.join()


class ScriptedSlurm:
    """Acts as slurmctld: it knows which nodes it wants, and calls the hooks."""

    def __init__(self, system: WholeSystem) -> None:
        self.fleet = system
        self.wanted: set[str] = set()

    def call_hook(self, *nodes: str, on: bool) -> None:
        """Call a hook for nodes, as slurmctld does: its own state changes first."""
        self.wanted = self.wanted | set(nodes) if on else self.wanted - set(nodes)
        done = self.fleet.request("resume" if on else "suspend", ",".join(nodes))
        assert done.returncode == 0, done.stderr

    def snapshot(self) -> None:
        """Publish a snapshot, as the snapshot worker does."""
        publish_snapshot(self.fleet.settings, self._read)

    def snapshots(self) -> AbstractContextManager[None]:
        """Publish one each second."""
        return snapshots(self.fleet.settings, self._read)

    def _read(self) -> list[SlurmNode]:
        return [SlurmNode(node, self._state(node)) for node in self.fleet.nodes]

    def _state(self, node: str) -> str:
        if node not in self.wanted:
            return OFF
        server = self.fleet.cloud.servers().get(node)
        return ON if server and server.status == "ACTIVE" else f"{ON}+NOT_RESPONDING"

    def wrong(self) -> dict[str, str]:
        """The nodes whose servers are not as wanted."""
        servers = self.fleet.cloud.servers()
        return {
            node: servers[node].status if node in servers else "NONE"
            for node in self.fleet.nodes
            if node not in servers
            or servers[node].status != ("ACTIVE" if node in self.wanted else "SHUTOFF")
            or servers[node].task_state
        }
