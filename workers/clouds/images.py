"""The images that requests have made, as Glance lists them. Pure.

Nova makes what createImage's metadata says properties of the image, and Glance finds by them (its API
reference, "List images"): so a request's image is known again without its id, which a killed worker
may never have heard.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workers.clouds.servers import REQUEST_KEY

# Glance's words for an image that is there, or will be.
_READY = "active"
_COMING = frozenset({"queued", "saving", "uploading", "importing"})


@dataclass(frozen=True, slots=True, order=True)
class Image:
    """An image that a request has made."""

    id: str
    status: str

    @property
    def ready(self) -> bool:
        """Whether servers can be made from it."""
        return self.status == _READY


def query(request_id: str, project_id: str | None) -> Mapping[str, str]:
    """What to ask Glance for: images of ours alone, whatever others may share with us."""
    asked = {REQUEST_KEY: request_id}
    return asked if project_id is None else {**asked, "owner": project_id}


def pick(images: Iterable[Image]) -> Image | None:
    """The request's image: one that is ready, else one that will be, else none."""
    ordered = sorted(images)
    ready = [image for image in ordered if image.ready]
    coming = [image for image in ordered if image.status in _COMING]
    return next(iter(ready + coming), None)
