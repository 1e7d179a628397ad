"""What is read from the cloud's answers beside servers: messages, times, ids. Pure."""

from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated

import msgspec
import requests

from workers.clouds import images
from workers.clouds.errors import CloudError, ImageLostError, ImageNotReadyError
from workers.process.foreign import UnreadableError, one_line, read_json

# Ids become parts of paths. Nova's, Glance's and Neutron's are UUIDs; a flavor's may be any such word.
Id = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,254}\Z")]
# Nova keeps times to the second, and the clocks of its hosts differ.
_OVERLAP = timedelta(seconds=5)


class _CreatedServer(msgspec.Struct):
    id: Id


class _Created(msgspec.Struct):
    server: _CreatedServer


class _Words(msgspec.Struct):
    message: str


def created_id(response: requests.Response) -> str:
    """The id of a server that was created.

    Raises:
        UnreadableError: the answer is not Nova's.
    """
    return read_json(response.content, _Created).server.id


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
        kinds = read_json(response.content, dict[str, _Words])
    except UnreadableError:
        kinds = {}
    words = next((one_line(one.message) for one in kinds.values()), "")
    return words or one_line(response.reason or "") or "no reason given"


def time_of(response: requests.Response) -> str:
    """From when on to ask next time, on the cloud's own clock, so that ours may be wrong.

    Raises:
        CloudError: the answer does not say.
    """
    try:
        moment = parsedate_to_datetime(response.headers["Date"]) - _OVERLAP
    except (KeyError, ValueError, OverflowError):
        raise CloudError(None, "the answer has no Date") from None
    return moment.isoformat()
