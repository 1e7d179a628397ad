"""What is read from the cloud's answers beside servers: messages, times, an image's id. Pure."""

from datetime import timedelta
from email.utils import parsedate_to_datetime

import requests

from workers.clouds import images
from workers.clouds.errors import CloudError, ImageLostError, ImageNotReadyError

_LONGEST_MESSAGE = 500
# Nova keeps times to the second, and the clocks of its hosts differ.
_OVERLAP = timedelta(seconds=5)


def ready_id(found: images.Image | None) -> str:
    """The id of an image that is ready.

    Raises:
        ImageNotReadyError, ImageLostError: it is not.
    """
    if found is None:
        raise ImageLostError("the cloud did not keep the image: its making has failed")
    if not found.ready:
        raise ImageNotReadyError(f"image {found.id} is {found.status}")
    return found.id


def message_of(response: requests.Response) -> str:
    """Nova wraps its words: {"conflictingRequest": {"code": 409, "message": "..."}}."""
    try:
        body = next(iter(response.json().values()))
        return cut(str(body["message"]))
    except (ValueError, AttributeError, StopIteration, KeyError, TypeError):
        return cut(response.reason or "no reason given")


def cut(text: str) -> str:
    """The text on one line, at a length that fits an event."""
    return " ".join(text.split())[:_LONGEST_MESSAGE]


def time_of(response: requests.Response) -> str:
    """From when on to ask next time, on the cloud's own clock, so that ours may be wrong.

    Raises:
        CloudError: the answer does not say.
    """
    try:
        moment = parsedate_to_datetime(response.headers["Date"]) - _OVERLAP
    except (KeyError, ValueError):
        raise CloudError(None, "the answer has no Date") from None
    return moment.isoformat()
