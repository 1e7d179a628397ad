"""A template's names of image, flavor and networks as ids, asked of the cloud once."""

from collections.abc import Callable
from typing import Any, Protocol

from workers.power.classify import BadTemplateError
from workers.power.novarequests import Parts
from workers.settings import ServerTemplate

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
        image=_one("image", template.image, cloud.image.find_image),
        flavor=_one("flavor", template.flavor, cloud.compute.find_flavor),
        networks=tuple(
            name if name in _WORDS else _one("network", name, cloud.network.find_network)
            for name in template.networks
        ),
    )


def _one(kind: str, name: str, find: Callable[..., Any]) -> str:
    found = find(name, ignore_missing=True)
    if found is None:
        raise BadTemplateError(f"the cloud has no {kind} {name}; mend the group's template")
    return str(found.id)
