"""Connection parameters and message properties, alike for hooks and workers."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

import pika

from producers.settings import BrokerSettings, ConfigError
from schemas.envelope import CONTENT_TYPE

Header = str | int
PERSISTENT = 2


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish.

    Attributes:
        id: the message_id, by which a returned message is recognised.
        mandatory: whether reaching no queue is an error.
        reply_to, correlation_id, expiration: for request-reply; expiration in milliseconds.
        persistent: whether the broker writes it to disk; never so for what holds a token.
    """

    exchange: str
    routing_key: str
    body: bytes
    id: str
    headers: Mapping[str, Header] = field(default_factory=dict)
    mandatory: bool = True
    reply_to: str | None = None
    correlation_id: str | None = None
    expiration: int | None = None
    persistent: bool = True

    def properties(self, user: str | None = None) -> pika.BasicProperties:
        """Its AMQP properties; `user` is validated by the broker where given."""
        return pika.BasicProperties(
            content_type=CONTENT_TYPE,
            delivery_mode=PERSISTENT if self.persistent else 1,
            message_id=self.id,
            headers=dict(self.headers),
            reply_to=self.reply_to,
            correlation_id=self.correlation_id,
            expiration=None if self.expiration is None else str(self.expiration),
            user_id=user,
            app_id="lamplighter",
        )


def connection_parameters(
    broker: BrokerSettings, name: str, *, timeout: float = 5.0, blocked_timeout: float = 30.0
) -> pika.URLParameters:
    """How to connect, with every timeout set: a silent peer never hangs us.

    Args:
        broker: where.
        name: shown in the broker's list of connections.
        timeout: seconds for TCP, and twice that for the whole handshake.
        blocked_timeout: seconds after which a blocked connection (memory alarm) is given up.

    Raises:
        ConfigError: the URL, the password file or the CA file cannot be used.
    """
    try:
        parameters = pika.URLParameters(broker.full_url())
    except ValueError as error:
        raise ConfigError(f"broker.url: {error}") from None
    parameters.socket_timeout = timeout
    parameters.stack_timeout = timeout * 2
    parameters.blocked_connection_timeout = blocked_timeout
    parameters.heartbeat = 30
    parameters.connection_attempts = 1
    parameters.client_properties = {"connection_name": name}
    if broker.ca_file is not None:
        try:
            context = ssl.create_default_context(cafile=str(broker.ca_file))
        except OSError as error:
            raise ConfigError(f"broker.ca_file: {error}") from None
        parameters.ssl_options = pika.SSLOptions(context, parameters.host)
    return parameters
