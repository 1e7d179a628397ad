"""The images of the cloud; no HTTP."""

import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.testbed.simcloud.clock import Time
from tests.testbed.simcloud.credentials import PROJECT_ID
from tests.testbed.simcloud.errors import BadRequestError, NotFoundError

BASE_IMAGE_ID = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"
BASE_IMAGE_NAME = "node-image"


@dataclass(slots=True)
class Image:
    """One image; ``created`` is in seconds since the epoch."""

    id: str
    name: str
    owner: str
    created: float
    status: Literal["queued", "active"] = "active"
    properties: dict[str, str] = field(default_factory=dict)


class ImageStore:
    """All images; at first there is one, from which servers can be created."""

    def __init__(self, time: Time, seed: int) -> None:
        self._time = time
        self._rng = random.Random(seed + 3)
        base = Image(BASE_IMAGE_ID, BASE_IMAGE_NAME, PROJECT_ID, time.now())
        self._images = {base.id: base}
        self._dropped: set[str] = set()

    def begin(self, name: str, owner: str, properties: Mapping[str, str]) -> Image:
        """Add an image without content."""
        number = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        image = Image(number, name, owner, self._time.now(), "queued", dict(properties))
        self._images[image.id] = image
        return image

    def drop(self, image: Image) -> None:
        """Remove an image, as Nova does if it could not be saved."""
        self._images.pop(image.id, None)
        self._dropped.add(image.id)

    def check(self, image_id: str) -> None:
        """Check whether a server can be made from an image; ids that were never known pass.

        Raises:
            BadRequestError: the image was removed.
        """
        if image_id in self._dropped:
            raise BadRequestError("Can not find requested image")

    def get(self, image_id: str) -> Image:
        """Return one image.

        Raises:
            NotFoundError: no image has this id.
        """
        if image_id not in self._images:
            raise NotFoundError(f"No image found with ID {image_id}")
        return self._images[image_id]

    def matching(self, wanted: Mapping[str, str]) -> Iterator[Image]:
        """Iterate over the images with the wanted fields and properties."""
        for image in self._images.values():
            has = {
                **image.properties,
                "name": image.name,
                "owner": image.owner,
                "status": image.status,
            }
            if all(has.get(key) == value for key, value in wanted.items()):
                yield image
