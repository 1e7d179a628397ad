"""The power worker's engine in this process, with a broker and a cloud that answer at once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, cast

from prometheus_client import CollectorRegistry

from schemas.server import Server
from tests.testbed.installation import CLUSTER
from tests.testbed.stores import STORES
from workers.broker.depths import QueueDepth
from workers.clouds.actions import STOP
from workers.clouds.client import Cloud, Listing
from workers.clouds.driver import CloudDriver
from workers.clouds.servers import DELETED
from workers.config.settings import load
from workers.power.engine import Engine
from workers.power.metrics import PowerMetrics
from workers.store.database import open_store
from workers.store.lease_owner import Lease, Owner
from workers.store.power_store import PowerStore
from workers.store.slurm_view import SnapshotReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from producers.message import Message
    from workers.broker.delivery import Delivery
    from workers.broker.link import Link
    from workers.clouds.nova_requests import Call

_CONFIG = """
cluster = "{cluster}"
[broker]
url = "amqp://127.0.0.1/test"
password_file = "password"
[power]
poll_interval = {poll_interval}
[clouds.main]
auth_url = "http://127.0.0.1/v3"
project_id = "p"
source = {{ type = "password", username = "u", password_file = "password" }}
[groups.main]
nodes = "main[1-{nodes}]"
cloud = "main"
{group}
"""


class InstantLink:
    """A broker that confirms every message at once; it keeps nothing.

    Args:
        on_publish: is given each published message.
        on_ack: is given each acknowledged delivery.
        ready: says how many messages are left in a queue.
    """

    problem = None

    def __init__(
        self,
        on_publish: Callable[[Message], object] = lambda _: None,
        on_ack: Callable[[Delivery], object] = lambda _: None,
        ready: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._on_publish = on_publish
        self._on_ack = on_ack
        self._ready = ready

    def count(self, queue: str) -> Future[QueueDepth]:
        counted: Future[QueueDepth] = Future()
        counted.set_result(QueueDepth(queue, self._ready(queue), 1))
        return counted

    def publish(self, message: Message) -> Future[None]:
        self._on_publish(message)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._on_ack(delivery)

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class InstantCloud:
    """Nova without a network: a server runs as soon as it is started, and is off once it is stopped.

    Args:
        nodes: the names of the servers; all are SHUTOFF.
        before: runs before each call takes effect, and before each listing, with None; what it
            raises is the answer.

    Attributes:
        calls: the number of calls by action.
    """

    def __init__(
        self, nodes: Iterable[str], before: Callable[[Call | None], object] = lambda _: None
    ) -> None:
        self.calls: Counter[str] = Counter()
        self._before = before
        self._lock = Lock()
        self._servers = {f"id-{n}": Server(f"id-{n}", n, "SHUTOFF") for n in nodes}
        self._changed: dict[str, Server] = {}

    def act(self, call: Call, guard: Callable[[], None]) -> str:
        guard()
        with self._lock:
            self.calls[call.action] += 1
            self._before(call)
            status = "SHUTOFF" if call.action == STOP else "ACTIVE"
            assert call.server_id is not None
            self._put(replace(self._servers[call.server_id], status=status))
            return call.server_id

    def put(self, server: Server) -> None:
        """Add a server that is not ours, or change it."""
        with self._lock:
            self._put(server)

    def _put(self, server: Server) -> None:
        self._changed[server.id] = server
        if server.status in DELETED:
            del self._servers[server.id]
        else:
            self._servers[server.id] = server

    def list_servers(self, since: str | None) -> Listing:
        with self._lock:
            self._before(None)
            listed = self._servers if since is None else self._changed
            self._changed = {}
            return Listing(list(listed.values()), "2026-01-01T00:00:00Z")

    def show_server(self, server_id: str) -> Server | None:
        with self._lock:
            return self._servers.get(server_id)

    def close(self) -> None: ...


@contextmanager
def engine_on(  # noqa: PLR0913 - one per part
    folder: Path,
    link: InstantLink,
    cloud: InstantCloud,
    *,
    nodes: int = 9,
    poll_interval: float = 0.2,
    group: str = "",
) -> Iterator[Engine]:
    """An engine with a store of its own; its caller takes the turns.

    Args:
        folder: for the configuration and the store.
        link: the broker.
        cloud: has servers main1, main2, ...
        nodes: the number of nodes.
        poll_interval: seconds between two listings.
        group: more lines of the group.
    """
    config = folder / "lamplighter.toml"
    config.write_text(
        _CONFIG.format(cluster=CLUSTER, poll_interval=poll_interval, nodes=nodes, group=group)
    )
    (folder / "password").write_text("secret")
    (folder / "password").chmod(0o600)
    settings = load(config)
    store = open_store(STORES.url(folder / "state.db"), "state")
    with closing(Owner(store.url)) as owner:
        lease = Lease(owner, 60.0, settling=20.0)
        engine = Engine(
            settings,
            cast("Link", link),
            PowerStore(store, CLUSTER, lease),
            SnapshotReader(store, CLUSTER, enabled=False, stale_after=60.0),
            lambda name, post: CloudDriver(
                name, CLUSTER, settings.clouds[name], cast("Cloud", cloud), post
            ),
            metrics=PowerMetrics(CollectorRegistry()),
        )
        yield engine
        engine.close()
    store.dispose()
