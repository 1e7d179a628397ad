"""Connection parameters and message properties, the same for hooks and workers."""

import ssl
from typing import TypeAlias

import pika

from producers.message import Message
from producers.settings import BrokerSettings, ConfigError
from schemas.envelope import CONTENT_TYPE

PERSISTENT = 2
ConnectionParameters: TypeAlias = pika.URLParameters


class Certificate(pika.credentials.ExternalCredentials):  # type: ignore[misc]  # pika has no types
    """A login with the certificate of the connection; the broker takes the user's name from it."""

    def __init__(self, username: str) -> None:
        super().__init__()
        self.username = username


def properties(message: Message, user: str) -> pika.BasicProperties:
    """The message's AMQP properties; the broker refuses it if `user` is not the connection's."""
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
    certificates = broker.users is not None and broker.users.certificates
    if broker.ca_file is not None or certificates:
        parameters.ssl_options = pika.SSLOptions(_tls(broker), parameters.host)
    if certificates:
        parameters.credentials = Certificate(broker.user)
    return parameters


def _tls(broker: BrokerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=broker.ca_file and str(broker.ca_file))
    except OSError as error:
        raise ConfigError(
            f"broker.ca_file: {broker.ca_file}: {error.strerror}; name a file of PEM certificates"
        ) from None
    if broker.users is not None and broker.users.certificates:
        key = broker.users.secret_file(broker.role)
        try:
            context.load_cert_chain(key.with_suffix(".crt"), key)
        except OSError as error:
            raise ConfigError(
                f"broker.users: {key}: {error.strerror}; put the role's certificate (.crt) and key"
                " there as PEM, readable for this user alone"
            ) from None
    return context
