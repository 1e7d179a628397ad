"""A connection to the broker, owned by one thread, that reconnects; all consumers use it.

Deliveries, publishes and acknowledgements cross threads: handlers run on the link's thread and must
return at once; `publish` returns a future that is done when the broker has confirmed the message;
`ack` of a delivery of a lost connection does nothing, because the broker has already requeued it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pika
import structlog
from pika.exceptions import AMQPError

from producers.amqp import ConnectionParameters
from producers.message import Message
from workers.broker.backoff import Backoff
from workers.broker.delivery import Delivery
from workers.broker.session import BrokerSession
from workers.errors import BrokerAwayError


class Link:
    """A connection with one channel that consumes and publishes.

    Args:
        parameters: from producers.amqp.connection_parameters.
        queues: the queues to consume, each with its prefetch; for REPLY_TO, see Consumers.
        on_delivery: called on the link's thread for every delivery.
        on_up: called on the link's thread after each (re)connection, before deliveries, with the
            connection's number.
    """

    def __init__(
        self,
        parameters: ConnectionParameters,
        queues: Mapping[str, int] | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
        on_up: Callable[[int], None] | None = None,
    ) -> None:
        self._parameters = parameters
        self._user: str = parameters.credentials.username
        self._queues = dict(queues or {})
        self._on_delivery = on_delivery or (lambda _delivery: None)
        self._on_up = on_up or (lambda _number: None)
        name = parameters.client_properties["connection_name"]
        self._log = structlog.get_logger().bind(connection_name=name)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._session: BrokerSession | None = None
        self._count = 0
        self._backoff = Backoff()
        self._consuming = True
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    # -- for other threads

    def start(self) -> None:
        """Connect, and stay connected until `stop`."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Close; the broker requeues unacknowledged deliveries."""
        self._stopping.set()
        self._call(lambda _session: self._close())
        self._thread.join(timeout)

    def wait_up(self, timeout: float) -> bool:
        """Whether the link is connected within `timeout` seconds."""
        return self._up.wait(timeout)

    @property
    def is_up(self) -> bool:
        """Whether the link is connected now."""
        return self._up.is_set()

    @property
    def problem(self) -> str | None:
        """Why the link consumes nothing, or not all of its queues; None if there is no problem."""
        session = self._session
        if session is None or session.consumers is None:
            return "waits for the broker"
        if lost := session.consumers.lost:
            return f"does not consume {', '.join(lost)}: run lamplighter topology apply"
        return None

    def publish(self, message: Message) -> Future[None]:
        """Publish; the future is done when the broker has confirmed.

        The future raises BrokerAwayError, UnroutableError or RefusedError.
        """
        future: Future[None] = Future()
        with self._lock:
            if self._session is None:
                future.set_exception(BrokerAwayError("not connected to the broker"))
            else:
                self._session.pending.add(future)
        self._call(lambda session: session.publish(message, self._user, future))
        return future

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge: the broker deletes these."""
        self._call(lambda session: session.settle(deliveries, requeue=False))

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Requeue: the broker delivers these again."""
        self._call(lambda session: session.settle(deliveries, requeue=True))

    def pause(self) -> None:
        """Stop consuming until `resume`; earlier deliveries stay with us."""
        self._consuming = False
        self._call(self._apply_wish)

    def resume(self) -> None:
        """Consume again."""
        self._consuming = True
        self._call(self._apply_wish)

    def _call(self, function: Callable[[BrokerSession], None]) -> None:
        """Run `function` on the link's thread with its session; does nothing if not connected."""
        with self._lock:
            if (session := self._session) is not None:
                self._connection.ioloop.add_callback_threadsafe(lambda: function(session))

    # -- on the link's thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._connect()
                self._connection.ioloop.start()
            except (AMQPError, OSError) as error:
                self._log.warning("broker_connection_failed", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - a handler's must not end the link
                self._log.exception("link_failed")
            finally:
                self._disconnected()
            self._stopping.wait(self._backoff.next())

    def _connect(self) -> None:
        self._count += 1
        session = BrokerSession(self._count)
        connection = pika.SelectConnection(
            self._parameters,
            on_open_callback=lambda opened: opened.channel(
                on_open_callback=lambda channel: self._channel_open(session, channel)
            ),
            on_open_error_callback=lambda _connection, error: self._connection_ended(error),
            on_close_callback=lambda _connection, error: self._connection_ended(error),
        )
        with self._lock:
            self._connection, self._session = connection, session

    def _channel_open(self, session: BrokerSession, channel: Any) -> None:  # noqa: ANN401 - pika has no types
        channel.add_on_close_callback(lambda _channel, error: self._channel_closed(error))
        session.open(channel, lambda: self._ready(session))

    def _ready(self, session: BrokerSession) -> None:
        self._up.set()
        self._log.info("broker_connected", connection=session.number)
        self._on_up(session.number)
        session.consume(self._queues, self._on_delivery)
        self._apply_wish(session)

    def _apply_wish(self, session: BrokerSession) -> None:
        """Consume unless paused: the last wish counts, in whatever order the calls arrive."""
        if session.consumers is not None:
            session.consumers.want(self._consuming)

    def _channel_closed(self, error: BaseException) -> None:
        if not self._stopping.is_set():
            self._log.warning("broker_channel_closed", error=str(error))
        self._close()

    def _close(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if connection.is_closed:
            connection.ioloop.stop()
        elif not connection.is_closing:  # its channel closes first, which calls this again
            connection.close()

    def _connection_ended(self, error: BaseException | str) -> None:
        if not self._stopping.is_set():
            self._log.warning("broker_connection_ended", error=type(error).__name__)
        self._connection.ioloop.stop()

    def _disconnected(self) -> None:
        self._up.clear()
        with self._lock:
            connection, self._connection = self._connection, None
            session, self._session = self._session, None
        if session is not None:
            connection.ioloop.close()
            session.close()
