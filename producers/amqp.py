"""Connection parameters and message properties, the same for hooks and workers."""

import ssl
from typing import TypeAlias

import pika

from producers.message import Message
from producers.settings import BrokerSettings, ConfigError
from schemas.envelope import CONTENT_TYPE

PERSISTENT = 2
ConnectionParameters: TypeAlias = pika.URLParameters


def properties(message: Message, user: str | None = None) -> pika.BasicProperties:
    """The message's AMQP properties; the broker validates `user` if it is given."""
    return pika.BasicProperties(
        content_type=CONTENT_TYPE,
        delivery_mode=PERSISTENT if message.persistent else 1,
        message_id=message.id,
        headers=dict(message.headers),
        reply_to=message.reply_to,
        correlation_id=message.correlation_id,
        expiration=None if message.expiration is None else str(message.expiration),
        user_id=user,
        app_id="lamplighter",
    )


def connection_parameters(
    broker: BrokerSettings, name: str, *, timeout: float = 5.0, blocked_timeout: float = 30.0
) -> ConnectionParameters:
    """Connection parameters with every timeout set, so that a silent peer cannot block us.

    Args:
        broker: the broker's settings.
        name: shown in the broker's list of connections.
        timeout: seconds for TCP, and twice that for the whole handshake.
        blocked_timeout: seconds after which we close a blocked connection (memory alarm).

    Raises:
        ConfigError: the URL, the password file or the CA file cannot be used.
    """
    try:
        parameters = pika.URLParameters(broker.full_url())
    except (ValueError, TypeError, AttributeError) as error:
        # The error's text can quote the URL, and with it the password.
        raise ConfigError(
            f"broker.url: {type(error).__name__} in {broker.shown}; "
            "write it as amqp://user@host:5672/vhost"
        ) from None
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
            raise ConfigError(
                f"broker.ca_file: {broker.ca_file}: {error.strerror}; name a file of PEM certificates "
                "that this user can read"
            ) from None
        parameters.ssl_options = pika.SSLOptions(context, parameters.host)
    return parameters
