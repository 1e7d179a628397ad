"""A connection to the broker, owned by one thread, that reconnects; all consumers use it.

With several addresses it tries one after the other. A broker that accepts connections and sends nothing,
not even a heartbeat, is left for the next address too: its process may hang.

Deliveries, publishes and acknowledgements cross threads: handlers run on the link's thread and must
return at once; `publish` returns a future that is done when the broker has confirmed the message;
`ack` of a delivery of a lost connection does nothing, because the broker has already requeued it.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pika
import structlog
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByClient

from producers.amqp import ConnectionParameters
from producers.message import Message
from producers.settings import ConfigError
from workers.broker import odd_headers
from workers.broker.backoff import Backoff
from workers.broker.blocking import connection_error
from workers.broker.delivery import Delivery
from workers.broker.depths import QueueDepth
from workers.broker.session import BrokerSession, no_quorum
from workers.broker.silence import leave_if_silent
from workers.errors import BrokerAwayError, BrokerError

_LOOK_SECONDS = 0.05
# A link that lacks a right works until its next message needs it.
_REFUSAL_MEMORY = 30.0


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
        self._user = parameters.user
        self._queues = dict(queues or {})
        self._on_delivery = on_delivery or (lambda _delivery: None)
        self._on_up = on_up or (lambda _number: None)
        self._log = structlog.get_logger().bind(connection_name=parameters.name)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._session: BrokerSession | None = None
        self._calls: list[Callable[[BrokerSession], None]] = []
        self._count = self._count_up = 0
        # for which the last connection waited as it ended: RabbitMQ 3.10 closes it if a queue's node is away
        self._awaited = "its queues"
        self._address = 0
        self._tried: Any = None  # the parameters of this connection
        self._closed_by_us = False
        self._failure: BrokerError | None = None
        self._refusal: BrokerError | None = None
        self._backoff = Backoff()
        self._refusals = Backoff(_REFUSAL_MEMORY)
        self._refused = False  # in the last connection
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

    def prove_consuming(self, timeout: float) -> None:
        """Wait until the broker has confirmed a consumer of each queue.

        That proves that each has a quorum; a count of its messages does not.

        Raises:
            NoQuorumError: there is a connection, and a queue does not answer.
            NotDeclaredError: a queue does not exist.
            BrokerError: the broker is away, or refuses.
        """
        until = time.monotonic() + timeout
        while (session := self._session) is None or not session.is_consuming:
            error = self._refusal or (session.failure if session else None)
            if error is not None:
                raise error
            if time.monotonic() > until:
                if self._count_up:
                    raise no_quorum(self._awaited)
                raise BrokerAwayError(self._failure or f"no connection within {timeout:g} s")
            time.sleep(_LOOK_SECONDS)

    @property
    def problem(self) -> str | None:
        """Why the link consumes nothing, or not all of its queues; None if there is no problem."""
        session = self._session
        if session is None or session.consumers is None:
            return f"waits for the broker{f': {self._failure}' if self._failure else ''}"
        return "; ".join(session.problems()) or None

    def publish(self, message: Message) -> Future[None]:
        """Publish; the future is done when the broker has confirmed.

        The future raises BrokerAwayError, UnroutableError or RefusedError.
        """
        future: Future[None] = self._future()
        self._call(lambda session: session.publish(message, self._user, future))
        return future

    def count(self, queue: str) -> Future[QueueDepth]:
        """The queue's counts now; the future is done after the deliveries that were sent before.

        The future raises BrokerAwayError.
        """
        future: Future[QueueDepth] = self._future()
        self._call(lambda session: session.count(queue, future))
        return future

    def _future(self) -> Future[Any]:
        """One that ends with the session at the latest."""
        future: Future[Any] = Future()
        with self._lock:
            if self._session is None:
                future.set_exception(BrokerAwayError("not connected to the broker"))
            else:
                self._session.pending.add(future)
        return future

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge: the broker deletes these."""
        self._call(lambda session: session.ack(deliveries))

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
            if self._session is None:
                return
            self._calls.append(function)
            if len(self._calls) == 1:  # to wake the thread costs more than most calls
                self._connection.ioloop.add_callback_threadsafe(self._run_calls)

    # -- on the link's thread

    def _run_calls(self) -> None:
        with self._lock:
            session, calls = self._session, self._calls
            self._calls = []
        if session is not None:
            for call in calls:
                call(session)

    def _run(self) -> None:
        while not self._stopping.is_set():
            addresses = 1
            try:
                addresses = self._connect()
                # if `stop` came before there was a session, it could not close it
                if not self._stopping.is_set():
                    self._connection.ioloop.start()
            except (AMQPError, OSError, ConfigError) as error:
                self._failed(error)
            except Exception:  # noqa: BLE001 - a handler's must not end the link
                if not self._stopping.is_set():  # then pika asserts, if the peer ends the handshake
                    self._log.exception("link_failed")
            finally:
                self._disconnected()
            if not self._closed_by_us:
                self._address += 1
            if self._refused:
                self._stopping.wait(self._refusals.next())
            elif self._closed_by_us or self._address % addresses == 0:  # all were tried
                self._stopping.wait(self._backoff.next())

    def _connect(self) -> int:
        """Begin to connect to the next address; the number of addresses."""
        addresses = self._parameters.addresses()
        address = addresses[self._address % len(addresses)]
        self._tried = address
        self._count += 1
        self._closed_by_us = self._refused = False
        odd_headers.accept()
        session = BrokerSession(self._count, self._queues)
        connection = pika.SelectConnection(
            address,
            on_open_callback=lambda opened: self._open(session, opened),
            on_open_error_callback=lambda _connection, error: self._connection_ended(error),
            on_close_callback=lambda _connection, error: self._connection_ended(error),
        )
        with self._lock:
            self._connection, self._session = connection, session
        return len(addresses)

    def _open(self, session: BrokerSession, connection: Any) -> None:  # noqa: ANN401 - pika has no types
        session.watch(connection)
        leave_if_silent(connection)
        connection.channel(
            on_open_callback=lambda channel: session.open(
                channel, lambda: self._ready(session), self._channel_closed
            )
        )

    def _ready(self, session: BrokerSession) -> None:
        self._failure = None
        self._count_up += 1
        self._up.set()
        self._log.info("broker_connected", connection=session.number)
        self._on_up(session.number)
        session.consume(self._on_delivery)
        self._apply_wish(session)

    def _apply_wish(self, session: BrokerSession) -> None:
        """Consume unless paused: the last wish counts, in whatever order the calls arrive."""
        if session.consumers is not None:
            session.consumers.want(self._consuming)

    def _channel_closed(self, error: BaseException) -> None:
        # not if the whole connection ends
        if self._connection is not None and self._connection.is_open:
            if isinstance(error, ChannelClosedByBroker):  # it lacks a permission, for one
                self._refused = True
                self._refusal = BrokerError(error.reply_text)
            self._log.warning("broker_channel_closed", error=str(error))
        self._close()

    def _close(self) -> None:
        if (connection := self._connection) is None:
            return
        if connection.is_closed:
            connection.ioloop.stop()
        elif not connection.is_closing:  # its channel closes first, which calls this again
            connection.close()

    def _connection_ended(self, error: BaseException) -> None:
        self._closed_by_us = isinstance(error, ConnectionClosedByClient)
        self._failed(error)
        self._connection.ioloop.stop()

    def _failed(self, error: BaseException) -> None:
        if self._stopping.is_set():
            return
        self._failure = connection_error(error, self._parameters.broker, self._tried)
        self._log.warning(
            "broker_connection_failed", error=type(error).__name__, reason=str(self._failure)
        )

    def _disconnected(self) -> None:
        self._up.clear()
        with self._lock:
            connection, self._connection = self._connection, None
            session, self._session = self._session, None
            self._calls = []
        if session is not None:
            connection.ioloop.close()
            self._awaited = (session.consumers and session.consumers.awaited) or self._awaited
            session.close()
