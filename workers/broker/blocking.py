"""A short blocking connection, for declaring and for operators; pika's errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika.adapters.utils.connection_workflow import (
    AMQPConnectorException,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker, NackError

from producers.amqp import NACKED, ConnectionParameters, login_problem, reason_of, root_error
from producers.broker_settings import BrokerSettings
from producers.settings import ConfigError
from workers.errors import (
    AccessRefusedError,
    BrokerAwayError,
    BrokerError,
    BrokerLoginError,
    NotDeclaredError,
    RefusedError,
)

# AMQP 0-9-1, section 1.2
_BY_REPLY_CODE = {403: AccessRefusedError, 404: NotDeclaredError}


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn pika's errors into ours.

    Raises:
        BrokerError: a problem with the broker; the text says what, and the remedy if there is one.
    """
    try:
        yield
    except ChannelClosedByBroker as error:
        raise _BY_REPLY_CODE.get(error.reply_code, BrokerError)(error.reply_text) from error
    except NackError as error:
        raise RefusedError(f"the broker refused the message: {NACKED}") from error
    except AMQPError as error:
        raise BrokerAwayError(_said(error) or type(error).__name__) from error


def _said(error: BaseException) -> str:
    # 541: a call inside it failed, or took too long
    if isinstance(error, ConnectionClosedByBroker):
        return f"the broker closed the connection ({error.reply_text}); its log says why"
    return str(error)


def connection_error(
    error: BaseException, broker: BrokerSettings, address: pika.ConnectionParameters | None = None
) -> BrokerError:
    """Our error for a failed connect to an address, or for the end of a connection."""
    root = root_error(error)
    if (problem := login_problem(root, broker)) is not None:
        return BrokerLoginError(problem)
    if isinstance(root, AMQPConnectorStackTimeout):
        return BrokerAwayError("the broker accepts the connection, but does not answer")
    text = reason_of(error, broker, address) or _said(root)
    if not text or isinstance(root, ConnectionRefusedError):
        text = (
            f"the broker does not answer: start it, or check {broker.field}; "
            "until then hooks write to the spool"
        )
    return BrokerAwayError(text)


@contextmanager
def blocking_channel(parameters: ConnectionParameters) -> Iterator[Any]:
    """A channel on its own connection to the first address that answers.

    The broker requeues messages that are not acknowledged.

    Raises:
        BrokerError: as `broker_errors`; a refused login rather than a silent address.
    """
    connection = _connect(parameters)
    with broker_errors():
        try:
            yield connection.channel()
        finally:
            with suppress(AMQPError):
                connection.close()


def server_version(channel: Any) -> str:  # noqa: ANN401 - pika has no types
    """The broker's version, as it says it when a connection opens; empty if it says none."""
    # pika shows what the server says of itself on its other connections only
    said = channel.connection._impl.server_properties or {}  # noqa: SLF001
    version = said.get("version", "")
    return version if isinstance(version, str) else ""


def _connect(parameters: ConnectionParameters) -> Any:  # noqa: ANN401 - pika has no types
    problems: list[BrokerError] = []
    try:
        addresses = parameters.addresses()
    except ConfigError as error:  # a file has changed since the start
        raise BrokerLoginError(str(error)) from None
    for address in addresses:
        try:
            return pika.BlockingConnection(address)
        except (AMQPError, AMQPConnectorException, OSError) as error:
            problems.append(connection_error(error, parameters.broker, address))
    raise next((one for one in problems if isinstance(one, BrokerLoginError)), problems[-1])
