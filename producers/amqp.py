"""Connection parameters and message properties, the same for hooks and workers."""

import ssl
import stat
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import urlsplit

import pika
from pika.exceptions import ProbableAccessDeniedError, ProbableAuthenticationError

from producers.broker_settings import BrokerSettings
from producers.message import Message
from producers.reasons import connection_reason
from producers.settings import ConfigError
from producers.trust import UntrustedFileError, read_guarded, require_trusted, resolved, shown_file
from schemas.envelope import CONTENT_TYPE
from schemas.fields import shown

PERSISTENT = 2
# The broker sends something at least twice in this time.
HEARTBEAT_SECONDS = 5
# A connection that is blocked for so long (a memory alarm) is closed.
_BLOCKED_SECONDS = 30.0
# RabbitMQ's nack does not say which; a publisher cannot know.
NACKED = "a queue is full or has no quorum; lamplighter status says which"


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


@dataclass(frozen=True, slots=True)
class ConnectionParameters:
    """How to connect to the broker; passwords and certificates are read again by each `addresses`.

    Attributes:
        name: shown in the broker's list of connections.
        timeout: seconds for TCP, and twice that for the whole handshake; with several addresses half
            of that for each.
    """

    broker: BrokerSettings
    name: str
    timeout: float = 5.0

    @property
    def user(self) -> str:
        """The broker's user."""
        return self.broker.user

    def addresses(self) -> list[pika.URLParameters]:
        """The parameters for each node of the broker, in the order of the configuration.

        Raises:
            ConfigError: the URL, the password file or a certificate's file cannot be used.
        """
        try:
            addresses = [pika.URLParameters(url) for url in self.broker.full_urls()]
        except (ValueError, TypeError, AttributeError) as error:
            # The error's text can quote the URL, and with it the password.
            raise ConfigError(
                f"{self.broker.field}: {type(error).__name__} in {self.broker.shown}; "
                "write it as amqp://user@host:5672/vhost"
            ) from None
        timeout = self.timeout if len(addresses) == 1 else self.timeout / 2
        context = _tls(self.broker)
        for one in addresses:
            one.socket_timeout = timeout
            one.stack_timeout = timeout * 2
            one.blocked_connection_timeout = _BLOCKED_SECONDS
            one.heartbeat = HEARTBEAT_SECONDS
            one.connection_attempts = 1
            one.client_properties = {"connection_name": self.name}
            # never what pika read from the URL, which can switch off the verification
            one.ssl_options = None if context is None else pika.SSLOptions(context, one.host)
            if self.broker.users is not None and self.broker.users.certificates:
                one.credentials = Certificate(self.user)
        return addresses


def connection_parameters(broker: BrokerSettings, name: str) -> ConnectionParameters:
    """Connection parameters with every timeout set, so that a silent peer cannot block us.

    Raises:
        ConfigError: as ConnectionParameters.addresses, so that a process does not start with them.
    """
    parameters = ConnectionParameters(broker, name)
    parameters.addresses()
    return parameters


def _tls(broker: BrokerSettings) -> ssl.SSLContext | None:
    """The context for amqps; None for amqp."""
    if urlsplit(broker.urls[0]).scheme != "amqps":  # the same in all
        return None
    try:
        if broker.ca_file is not None:
            require_trusted(broker.ca_file)
        context = ssl.create_default_context(cafile=broker.ca_file)
    except UntrustedFileError as error:
        raise ConfigError(f"broker.ca_file: {error}") from None
    except OSError as error:
        raise ConfigError(
            f"broker.ca_file: {broker.ca_file}: {error.strerror}; name a file of PEM certificates"
        ) from None
    load_certificate(context, broker)
    return context


def load_certificate(context: ssl.SSLContext, broker: BrokerSettings) -> None:
    """Let a context show our own certificate, if there is one.

    Raises:
        ConfigError: certificate or key cannot be used, or others may read the key.
    """
    if broker.certificate is None:
        return
    field, certificate, key = broker.certificate
    try:
        read_guarded(key, stat.S_IRWXO)
        # with an empty pass phrase, no terminal is asked for one
        context.load_cert_chain(resolved(certificate), resolved(key), "")
    except UntrustedFileError as error:
        raise ConfigError(f"{field}: {error}") from None
    except OSError as error:
        raise ConfigError(
            f"{field}: {certificate} and {shown_file(key)}: {error.strerror}; put our certificate and its key"
            " there as PEM without a pass phrase, readable for this user alone"
        ) from None


def root_error(error: BaseException) -> BaseException:
    """The original error inside pika's nested connection errors."""
    while True:
        outer = getattr(error, "exceptions", None) or [getattr(error, "exception", None)]
        inner = next((one for one in (outer[-1], *error.args[-1:]) if _is_error(one)), None)
        if inner is None:
            return error
        error = inner


def _is_error(value: object) -> TypeGuard[BaseException]:
    return isinstance(value, BaseException)


def reason_of(
    error: BaseException, broker: BrokerSettings, address: pika.ConnectionParameters | None
) -> str | None:
    """Why there is no connection to an address, with the remedy; None if only the error's own text says it.

    Without an address, the parameters themselves failed: then any URL shows what all have in common.
    """
    parts = urlsplit(broker.urls[0])
    url = broker.urls[0] if address is None else f"{parts.scheme}://{address.host}"
    problem = login_problem(root_error(error), broker)
    return problem or connection_reason(error, url, broker.field, "broker.ca_file")


def login_problem(error: BaseException, broker: BrokerSettings) -> str | None:
    """Why the broker refused a login, and the remedy; None for any other root error."""
    user, vhost = shown(broker.user), shown(broker.vhost)
    if isinstance(error, ProbableAuthenticationError):
        _, file = broker.password_source
        place = file or broker.field
        return (
            f"the broker refused the login of user {user}: correct the password in {place}, or set "
            "it with rabbitmqctl change_password"
        )
    if isinstance(error, ProbableAccessDeniedError) and "not found" in str(error):
        return (
            f"the broker has no virtual host {vhost}: correct it in {broker.field}, or create it with "
            "rabbitmqctl add_vhost"
        )
    if isinstance(error, ProbableAccessDeniedError) and "is down" in str(error):
        return (
            f"virtual host {vhost} is down at the broker: start its other nodes, which it may need for its "
            "quorum, or run rabbitmqctl restart_vhost"
        )
    if isinstance(error, ProbableAccessDeniedError):
        return (
            f"the broker refused user {user} access to virtual host {vhost}: permit it with "
            "rabbitmqctl set_permissions"
        )
    return None
