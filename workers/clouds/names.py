"""A template's names of image, flavor and networks as ids, asked of the cloud once."""

import uuid
from typing import Any, Protocol

from workers.clouds.errors import BadTemplateError
from workers.clouds.nova_requests import Parts
from workers.config.groups import ServerTemplate

_WORDS = frozenset({"auto", "none"})


class _Finder(Protocol):
    """What this needs of openstack's Connection."""

    @property
    def image(self) -> Any: ...  # noqa: ANN401 - openstack has no types
    @property
    def compute(self) -> Any: ...  # noqa: ANN401
    @property
    def network(self) -> Any: ...  # noqa: ANN401


def resolve(cloud: _Finder, template: ServerTemplate) -> Parts:
    """Find them.

    Raises:
        BadTemplateError: the cloud has none of that name, or several.
        openstack.exceptions.SDKException: it does not answer.
    """
    return Parts(
        image=_one(cloud, "image", template.image),
        flavor=_one(cloud, "flavor", template.flavor),
        networks=tuple(
            name if name in _WORDS else _one(cloud, "network", name) for name in template.networks
        ),
    )


def _is_id(name: str) -> bool:
    """Ids need no look-up, nor the service that knows names; a flavor's may be anything."""
    try:
        uuid.UUID(name)
    except ValueError:
        return False
    return True


def _one(cloud: _Finder, kind: str, name: str) -> str:
    if _is_id(name):
        return name
    # only now: naming a service that the catalog lacks is an error
    service = {"image": "image", "flavor": "compute", "network": "network"}[kind]
    found = getattr(getattr(cloud, service), f"find_{kind}")(name)
    if found is None:
        raise BadTemplateError(f"the cloud has no {kind} {name}; mend the group's template")
    return str(found.id)
