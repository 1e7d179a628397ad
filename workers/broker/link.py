"""One connection to the broker, owned by one thread; the only place that consumes.

A Link reconnects by itself. Deliveries, publishes and acknowledgements cross threads: handlers run
on the link's thread and must only hand over; `publish` answers with a future that is done when the
broker confirmed the message; `ack` of a delivery from a lost connection does nothing, for the
broker has already queued it again.
"""

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pika
import structlog
from pika.exceptions import AMQPError

from producers.amqp import properties
from producers.message import Message
from workers.errors import BrokerAwayError, BrokerError, RefusedError, UnroutableError

REPLY_TO = "amq.rabbitmq.reply-to"
_LONGEST_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that the broker gave us and waits to hear of.

    Attributes:
        connection: which connection of the link it came over.
        tag: its delivery tag there.
    """

    queue: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any]
    message_id: str | None
    user_id: str | None
    reply_to: str | None
    correlation_id: str | None
    redelivered: bool
    connection: int
    tag: int


@dataclass(slots=True)
class _Session:
    """What belongs to one connection and dies with it."""

    number: int
    channel: Any = None
    next_tag: int = 1
    # delivery tag -> message id and the future to settle
    unconfirmed: OrderedDict[int, tuple[str, Future[None]]] = field(default_factory=OrderedDict)
    returned: set[str] = field(default_factory=set)
    # handed over, not yet sent: settled too when the connection ends
    handed: set[Future[None]] = field(default_factory=set)


class Link:
    """A connection with one channel that consumes and publishes.

    Args:
        parameters: from producers.amqp.connection_parameters.
        queues: what to consume, each with its prefetch; REPLY_TO needs no acknowledgements.
        on_delivery: called on the link's thread for every delivery.
        on_up: called on the link's thread after each (re)connection, before deliveries, with its
            number.
    """

    def __init__(
        self,
        parameters: pika.URLParameters,
        queues: Mapping[str, int] | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
        on_up: Callable[[int], None] | None = None,
    ) -> None:
        self._parameters = parameters
        self._user: str = parameters.credentials.username
        self._queues = dict(queues or {})
        self._on_delivery = on_delivery
        self._on_up = on_up
        self._log = structlog.get_logger().bind(
            connection_name=parameters.client_properties["connection_name"]
        )
        self._lock = threading.Lock()
        self._connection: Any = None
        self._session: _Session | None = None
        self._count = 0
        self._failures = 0
        self._consuming = True
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    # -- for other threads

    def start(self) -> None:
        """Connect, and stay connected until `stop`."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Close; unacknowledged deliveries go back to their queues."""
        self._stopping.set()
        self._call(self._close)
        self._thread.join(timeout)

    def wait_up(self, timeout: float) -> bool:
        """Whether the link is connected within `timeout` seconds."""
        return self._up.wait(timeout)

    @property
    def is_up(self) -> bool:
        """Whether the link is connected now."""
        return self._up.is_set()

    def publish(self, message: Message) -> Future[None]:
        """Send; the future is done once the broker has confirmed.

        The future raises BrokerAwayError, UnroutableError or RefusedError.
        """
        future: Future[None] = Future()
        with self._lock:
            if self._connection is None or self._session is None:
                future.set_exception(BrokerAwayError("not connected to the broker"))
                return future
            self._session.handed.add(future)
            self._connection.ioloop.add_callback_threadsafe(lambda: self._publish(message, future))
        return future

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that these are done with."""
        self._call(lambda: self._settle(deliveries, requeue=False))

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Give these back; they are delivered again."""
        self._call(lambda: self._settle(deliveries, requeue=True))

    def pause(self) -> None:
        """Consume nothing more until `resume`; what was delivered stays ours."""
        self._consuming = False
        self._call(self._cancel_all)

    def resume(self) -> None:
        """Consume again."""
        self._consuming = True
        self._call(self._consume_all)

    def _call(self, function: Callable[[], None]) -> None:
        """Run `function` on the link's thread; nothing to do when there is no connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.ioloop.add_callback_threadsafe(function)

    # -- on the link's thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._connect()
                self._connection.ioloop.start()
            except (AMQPError, OSError) as error:
                self._log.warning("broker_connection_failed", error=type(error).__name__)
            finally:
                self._down()
            if not self._stopping.is_set():
                self._failures += 1
                ceiling = min(_LONGEST_WAIT, 0.1 * 2 ** min(self._failures, 10))
                self._stopping.wait(random.uniform(ceiling / 2, ceiling))  # noqa: S311 - jitter

    def _connect(self) -> None:
        self._count += 1
        session = _Session(self._count)
        connection = pika.SelectConnection(
            self._parameters,
            on_open_callback=lambda opened: opened.channel(
                on_open_callback=lambda channel: self._channel_open(session, channel)
            ),
            on_open_error_callback=lambda _connection, error: self._ended(error),
            on_close_callback=lambda _connection, error: self._ended(error),
        )
        with self._lock:
            self._connection, self._session = connection, session

    def _channel_open(self, session: _Session, channel: Any) -> None:  # noqa: ANN401 - pika has no types
        session.channel = channel
        channel.add_on_close_callback(lambda _channel, error: self._channel_closed(error))
        channel.add_on_return_callback(
            lambda _channel, _method, properties, _body: session.returned.add(properties.message_id)
        )
        channel.confirm_delivery(
            lambda frame: self._confirmed(session, frame.method),
            callback=lambda _frame: self._ready(session),
        )

    def _ready(self, session: _Session) -> None:
        self._failures = 0
        self._up.set()
        self._log.info("broker_connected", connection=session.number)
        if self._on_up is not None:
            self._on_up(session.number)
        if self._consuming:
            self._consume_all()

    def _consume_all(self) -> None:
        session = self._session
        if session is None or session.channel is None or not session.channel.is_open:
            return
        for queue, prefetch in self._queues.items():
            if queue in session.channel.consumer_tags:
                continue
            no_ack = queue == REPLY_TO
            if not no_ack:
                session.channel.basic_qos(prefetch_count=prefetch)
            session.channel.basic_consume(
                queue=queue,
                on_message_callback=lambda _channel, method, properties, body, queue=queue: (
                    self._delivered(session, queue, method, properties, body)
                ),
                auto_ack=no_ack,
                consumer_tag=queue,
            )

    def _cancel_all(self) -> None:
        session = self._session
        if session is not None and session.channel is not None and session.channel.is_open:
            for queue in self._queues:
                if queue in session.channel.consumer_tags:
                    session.channel.basic_cancel(queue, callback=self._cancelled)

    def _cancelled(self, _frame: object) -> None:
        if self._consuming:  # resumed while the cancel was under way
            self._consume_all()

    def _delivered(
        self,
        session: _Session,
        queue: str,
        method: Any,  # noqa: ANN401 - pika has no types
        properties: Any,  # noqa: ANN401
        body: bytes,
    ) -> None:
        if self._on_delivery is None:
            return
        self._on_delivery(
            Delivery(
                queue=queue,
                routing_key=method.routing_key,
                body=body,
                headers=properties.headers or {},
                message_id=properties.message_id,
                user_id=properties.user_id,
                reply_to=properties.reply_to,
                correlation_id=properties.correlation_id,
                redelivered=method.redelivered,
                connection=session.number,
                tag=method.delivery_tag,
            )
        )

    def _publish(self, message: Message, future: Future[None]) -> None:
        session = self._session
        if session is None or future not in session.handed:
            return
        session.handed.discard(future)
        if session.channel is None or not session.channel.is_open:
            future.set_exception(BrokerAwayError("not connected to the broker"))
            return
        session.channel.basic_publish(
            message.exchange,
            message.routing_key,
            message.body,
            properties(message, self._user),
            mandatory=message.mandatory,
        )
        session.unconfirmed[session.next_tag] = (message.id, future)
        session.next_tag += 1

    def _confirmed(self, session: _Session, method: Any) -> None:  # noqa: ANN401 - pika has no types
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in session.unconfirmed if tag <= method.delivery_tag]
        for tag in tags:
            message_id, future = session.unconfirmed.pop(tag)
            error: BrokerError | None = None
            # a message that reached no queue is returned first, then confirmed
            if message_id in session.returned:
                session.returned.discard(message_id)
                error = UnroutableError("the message reached no queue")
            elif not isinstance(method, pika.spec.Basic.Ack):
                error = RefusedError("the broker refused the message: a queue is full")
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _settle(self, deliveries: Sequence[Delivery], *, requeue: bool) -> None:
        session = self._session
        if session is None or session.channel is None or not session.channel.is_open:
            return
        for delivery in deliveries:
            if delivery.connection != session.number or delivery.queue == REPLY_TO:
                continue
            if requeue:
                session.channel.basic_reject(delivery.tag, requeue=True)
            else:
                session.channel.basic_ack(delivery.tag)

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
        elif not connection.is_closing:  # its channel closes first, and brings us here again
            connection.close()

    def _ended(self, error: BaseException | str) -> None:
        if not self._stopping.is_set():
            self._log.warning("broker_connection_ended", error=type(error).__name__)
        self._connection.ioloop.stop()

    def _down(self) -> None:
        self._up.clear()
        with self._lock:
            connection, self._connection = self._connection, None
            session, self._session = self._session, None
        if connection is not None:
            connection.ioloop.close()
        if session is not None:
            for future in (*(f for _, f in session.unconfirmed.values()), *session.handed):
                future.set_exception(BrokerAwayError("the connection ended before the confirm"))
