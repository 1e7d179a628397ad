"""Stores the image of each group: the last baked one, which replaces the template's image."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import sqlalchemy as sa

from schemas.commands import PowerCommand
from workers.store.database import upsert
from workers.store.tables import group_images


@dataclass(frozen=True, slots=True)
class GroupImage:
    """An image of a group, which uses it since `set_at`; times in ns since the epoch.

    `node`, `request_id` and `generation` are those of the bake that created the image.
    """

    group_name: str
    image_id: str
    image_name: str
    node: str
    request_id: str
    generation: int
    set_at: int

    @classmethod
    def of(cls, bake: PowerCommand, group: str, image_id: str, now: int) -> Self:
        """The image that this bake created."""
        name = bake.image or image_id
        return cls(group, image_id, name, bake.node, bake.id, bake.generation, now)


def keep(connection: sa.Connection, cluster: str, images: Sequence[GroupImage]) -> None:
    """Set the images of groups; of two images for one group, the last requested one wins."""
    statement = upsert(
        connection.dialect.name,
        group_images,
        where=lambda new: new.generation > group_images.c.generation,
    )
    # one by one and in the order of requests: one statement cannot update a row twice
    for image in sorted(images, key=lambda image: (image.group_name, image.generation)):
        connection.execute(statement, {"cluster": cluster, **asdict(image)})


def by_group(connection: sa.Connection, cluster: str) -> Mapping[str, GroupImage]:
    """All images of a cluster, by group."""
    columns = (group_images.c[name] for name in GroupImage.__dataclass_fields__)
    query = sa.select(*columns).where(group_images.c.cluster == cluster)
    return {row.group_name: GroupImage(*row) for row in connection.execute(query)}


def unset(connection: sa.Connection, cluster: str, group: str) -> GroupImage | None:
    """Make a group use its template's image again; returns the image that it used before, if any."""
    found = by_group(connection, cluster).get(group)
    this = sa.and_(group_images.c.cluster == cluster, group_images.c.group_name == group)
    connection.execute(sa.delete(group_images).where(this))
    return found
