"""Run the power worker's engine in a thread: a real broker and store, simulated clouds, no token service.

The retry tiers delay messages by only 0.3 s. An error of the engine is raised when the block ends.
"""

from __future__ import annotations

import re
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

from keystoneauth1.identity import v3
from prometheus_client import CollectorRegistry

from producers.amqp import connection_parameters
from producers.message import Message
from schemas.envelope import parse
from schemas.errors import MalformedMessageError
from schemas.events import RequestEvent, event_from
from schemas.notices import Notice, notice_from
from tests.testbed.declared import declare_in_time
from tests.testbed.installation import CLUSTER, Installation
from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until
from workers.broker import topology
from workers.broker.link import Link
from workers.clouds.client import Cloud
from workers.clouds.driver import CloudDriver, CloudEvent
from workers.config.logins import PasswordSource
from workers.power.engine import Engine
from workers.power.metrics import PowerMetrics
from workers.store.database import open_store
from workers.store.lease_owner import Lease, Owner
from workers.store.power_store import PowerStore
from workers.store.slurm_view import SnapshotReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from schemas.commands import PowerCommand
    from schemas.events import Transition
    from tests.testbed.simcloud.handle import SimCloud
    from workers.broker.delivery import Delivery
    from workers.broker.session import BrokerSession

TIERS = dict.fromkeys(topology.RETRY_TIERS, 0.3)
NODES = [f"main{number}" for number in range(1, 10)]


@dataclass(frozen=True)
class Letter:
    """One dead letter."""

    headers: Mapping[str, Any]
    body: bytes


class PowerBench:
    """Use as a context manager.

    Args:
        folder: for the configuration and the store.
        broker_url: with the password, on a new vhost.
        clouds: by name; each has one group of the same name, with nodes such as `main1` to `main9`.
        power: fields of [power]; they override the bench's own.
        group: further lines of every group.
        resync: lines of [resync].
        store: lines of [store], instead of those for this run's stores.
    """

    def __init__(  # noqa: PLR0913 - one per part of lamplighter.toml
        self,
        folder: Path,
        broker_url: str,
        clouds: Mapping[str, SimCloud],
        *,
        power: Mapping[str, float] | None = None,
        group: str = "",
        resync: str = "",
        store: str = "",
    ) -> None:
        lines = {"poll_interval": 0.1, "api_timeout": 5.0, "lease": 20.0, **(power or {})}
        tables = ["[resync]", resync, "[power]"]
        tables += [f"{key} = {value}" for key, value in lines.items()]
        for name, cloud in clouds.items():
            tables += [*_tables(name, cloud.auth_url), group]
        self.site = Installation(folder, broker_url, store=store, more="\n".join(tables) + "\n")
        self.settings = self.site.settings
        self._parameters = connection_parameters(self.settings.broker, "test bench")
        self._events: list[bytes] = []
        self._received: list[Delivery] = []
        self._stack = ExitStack()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._turning = threading.Thread(target=self._turn, name="engine")

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _begin(self) -> None:
        declare_in_time(self._parameters, topology.topology(TIERS))
        self.store: sa.Engine = open_store(self.settings.store.url, "state")
        self._stack.callback(self.store.dispose)
        owner = self._stack.enter_context(closing(Owner(self.store.url)))
        self.snapshots = SnapshotReader(
            self.store,
            CLUSTER,
            enabled=self.settings.resync.enabled,
            stale_after=self.settings.stale_after,
        )
        self._listen()
        self._link = link = Link(
            self._parameters,
            dict.fromkeys((topology.RESUME_QUEUE, topology.SUSPEND_QUEUE), 100),
            on_delivery=self._deliver,
            on_up=lambda connection: self.engine.connected(connection),  # noqa: PLW0108
        )
        self.engine = Engine(
            self.settings,
            link,
            self.power_store(owner),
            self.snapshots,
            self._open_cloud,
            metrics=PowerMetrics(CollectorRegistry()),
        )
        self._stack.callback(link.stop)
        self._stack.callback(self.engine.close)
        link.start()
        assert link.wait_up(20)
        self._turning.start()

    def _deliver(self, delivery: Delivery) -> None:
        self._received.append(delivery)
        self.engine.deliver(delivery)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._turning.join()
        self._stack.close()
        if self._error is not None:
            raise self._error

    # -- other processes

    def other_worker(self) -> PowerStore:
        """The store, as another worker uses it."""
        return self.power_store(self._stack.enter_context(closing(Owner(self.store.url))))

    def power_store(self, owner: Owner) -> PowerStore:
        """The store, as this owner uses it."""
        return PowerStore(self.store, CLUSTER, self.lease(owner))

    def lease(self, owner: Owner) -> Lease:
        """How this owner owns nodes."""
        power = self.settings.power
        return Lease(owner, power.lease, settling=power.api_timeout)

    def ask(self, *commands: PowerCommand, headers: Mapping[str, str | int] | None = None) -> None:
        """Publish commands in this order, as a hook does; with headers, as an operator's replay."""
        self.site.publish(
            [
                Message(
                    topology.COMMANDS if headers is None else topology.REQUEUE,
                    requested.kind.routing_key,
                    requested.to_envelope().to_json(),
                    requested.id,
                    headers=headers or {},
                )
                for requested in commands
            ]
        )

    # -- observations

    def events(self, requested: PowerCommand | None = None) -> list[RequestEvent]:
        """Return the published events of all requests, or of one, in order."""
        found = []
        for body in list(self._events):
            try:
                event = event_from(parse(body))
            except MalformedMessageError:
                continue
            if requested is None or event.request_id == requested.id:
                found.append(event)
        return found

    def notices(self) -> list[Notice]:
        """Return the published alarms and other notices."""
        found = []
        for body in list(self._events):
            try:
                found.append(notice_from(parse(body)))
            except MalformedMessageError:
                continue
        return found

    def transitions(self, requested: PowerCommand) -> list[Transition]:
        """Return the transitions of a request, in order."""
        return [event.transition for event in self.events(requested)]

    def bodies(self, event_id: str) -> list[bytes]:
        """Return the body of every publication of an event."""
        return [body for body in list(self._events) if parse(body).id == event_id]

    def ending(self, requested: PowerCommand, timeout: float = 20.0) -> RequestEvent:
        """Wait for a request to end; return its last event."""
        return self.endings(requested, timeout=timeout)[0]

    def endings(self, *requested: PowerCommand, timeout: float = 20.0) -> list[RequestEvent]:
        """Wait for several requests to end; return their last events."""

        def ended() -> list[RequestEvent] | None:
            self.alive()
            ends = {e.request_id: e for e in self.events() if e.transition.terminal}
            found = [ends[one.id] for one in requested if one.id in ends]
            return found if len(found) == len(requested) else None

        return until(ended, timeout, f"the ends of {', '.join(one.node for one in requested)}")

    def saw(self, requested: PowerCommand, transition: Transition, timeout: float = 20.0) -> None:
        """Wait for a transition of a request."""
        until(
            lambda: transition in self.transitions(requested),
            timeout,
            f"{requested.node} to be {transition}",
        )

    def letters(self, count: int, timeout: float = 20.0) -> list[Letter]:
        """Wait for this many dead letters, and take them from the queue."""
        self.site.wait_depth(topology.DEAD_LETTER_QUEUE, count, timeout)
        return [Letter(*taken) for taken in self.site.drain(topology.DEAD_LETTER_QUEUE)]

    def idle(self, timeout: float = 20.0) -> None:
        """Wait until no node is pending, and the queues and retry tiers are empty.

        Requests from the future, which are over, may still be named.
        """
        queues = (topology.RESUME_QUEUE, topology.SUSPEND_QUEUE, *topology.RETRY_TIERS)
        until(
            lambda: (
                re.fullmatch(r"(PROBLEM: )?0 nodes pending(; requests come .*)?", self.engine.state)
                and not any(self.site.depth(queue) for queue in queues)
            ),
            timeout,
            "the engine to be idle",
        )

    def take_back(self, *, ignoring: bool) -> None:
        """Let the broker deliver again, on the same connection, all that is not acknowledged.

        Args:
            ignoring: whether acknowledgements of the earlier deliveries get no further than the link.
        """
        done = threading.Event()
        known = {(d.connection, d.tag) for d in self._received}

        def recover(session: BrokerSession) -> None:
            if ignoring:
                ack = session.ack

                def later(deliveries: Sequence[Delivery]) -> None:
                    ack([d for d in deliveries if (d.connection, d.tag) not in known])

                patch.object(session, "ack", later).start()
            session._channel.basic_recover(requeue=True)
            done.set()

        count = len(self._received)
        self._link._call(recover)
        until(done.is_set, 10, "the link's thread")
        until(lambda: len(self._received) > count, 10, "a delivery to come again")
        assert all(one.redelivered for one in self._received[count:])

    def alive(self) -> None:
        """Raise the error of the engine, if it has failed."""
        if self._error is not None:
            raise self._error

    # -- inside

    def _listen(self) -> None:
        def on_event(delivery: Delivery) -> None:
            self._events.append(delivery.body)
            listener.ack([delivery])

        listener = Link(self._parameters, {topology.AUDIT_QUEUE: 1000}, on_delivery=on_event)
        self._stack.callback(listener.stop)
        listener.start()
        assert listener.wait_up(20)

    def _open_cloud(self, name: str, post: Callable[[CloudEvent], None]) -> CloudDriver:
        of_cloud = self.settings.clouds[name]
        assert isinstance(of_cloud.source, PasswordSource)
        auth = v3.Password(
            of_cloud.auth_url,
            username=of_cloud.source.username,
            password=credentials.PASSWORD,
            user_domain_name=of_cloud.source.user_domain,
            project_id=of_cloud.project_id,
        )
        groups = self.settings.groups
        cloud = Cloud(of_cloud, auth, self.settings.power.api_timeout, CLUSTER, groups)
        return CloudDriver(name, CLUSTER, of_cloud, cloud, post)

    def _turn(self) -> None:
        try:
            while not self._stop.is_set():
                self.engine.turn()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            self._error = error


def _tables(name: str, auth_url: str) -> list[str]:
    return [
        f"[clouds.{name}]",
        f'auth_url = "{auth_url}"',
        f'project_id = "{credentials.PROJECT_ID}"',
        f"[clouds.{name}.source]",
        'type = "password"',
        f'username = "{credentials.USERNAME}"',
        'password_file = "not-read"',
        f"[groups.{name}]",
        f'nodes = "{name}[1-9]"',
        f'cloud = "{name}"',
    ]
