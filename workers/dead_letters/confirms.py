"""Publishing for many letters at once, and hearing for which of them the broker refused something."""

import time
from collections.abc import Mapping, Sequence

from producers.message import Message
from workers.broker.link import Link
from workers.errors import BrokerAwayError, RefusedError, UnroutableError

_SECONDS = 60.0


def confirm(link: Link, wanted: Mapping[int, Sequence[Message]]) -> dict[int, str]:
    """Publish, all at once, and wait for the confirms.

    Args:
        link: the connection.
        wanted: the messages, by the tag of the letter that they follow from.

    Returns:
        The tags of letters of which a message was refused, and why.

    Raises:
        BrokerAwayError: the connection ended, or nothing was confirmed in time.
    """
    published = [(tag, link.publish(message)) for tag, many in wanted.items() for message in many]
    until = time.monotonic() + _SECONDS
    refused: dict[int, str] = {}
    for tag, future in published:
        try:
            future.result(max(0.0, until - time.monotonic()))
        except (RefusedError, UnroutableError) as error:
            refused[tag] = str(error)
        except TimeoutError:
            raise BrokerAwayError(f"no confirm within {_SECONDS:g} s") from None
    return refused
