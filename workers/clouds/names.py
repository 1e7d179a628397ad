"""A template's names of image, flavor and networks as ids, asked of the cloud and kept for a while."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Protocol, TypeAlias

import msgspec

from workers.clouds.answers import Id
from workers.clouds.errors import BadTemplateError, CloudError
from workers.clouds.nova_requests import Parts
from workers.clouds.servers import is_id
from workers.config.groups import NETWORK_WORDS, ServerTemplate
from workers.process.foreign import one_line, read_json

_KEPT = 300.0
_MOST_PAGES = 20
_PAGE = 1000


class _Thing(msgspec.Struct):
    id: Id
    name: Annotated[str, msgspec.Meta(max_length=1024)] | None = None


class _Images(msgspec.Struct):
    things: list[_Thing] = msgspec.field(name="images")


class _Flavors(msgspec.Struct):
    things: list[_Thing] = msgspec.field(name="flavors")


class _Networks(msgspec.Struct):
    things: list[_Thing] = msgspec.field(name="networks")


_Found: TypeAlias = _Images | _Flavors | _Networks
Query: TypeAlias = Mapping[str, str | int]


class Ask(Protocol):
    """Asks a service of the cloud for a list; the body of its answer."""

    def __call__(self, service: str, path: str, query: Query) -> bytes:
        """The answer's body to `GET path?query`; errors as the cloud's client."""


class Names:
    """Resolves the names of templates, for many threads. The clock is monotonic, in seconds."""

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._kept: dict[tuple[str, str, tuple[str, ...]], tuple[float, Parts]] = {}

    def resolve(self, template: ServerTemplate, *, again: bool = False) -> Parts:
        """A template's parts; `again`: looked up although they are known.

        Raises:
            BadTemplateError: the cloud has nothing of a name, or several things.
            UnreadableError: an answer is not the service's.
            Exception: whatever `ask` raises.
        """
        key = template.image, template.flavor, template.networks
        kept = self._kept.get(key)
        if kept is None or again or self._clock() - kept[0] > _KEPT:
            kept = self._clock(), self._parts(template)
            self._kept[key] = kept
        return kept[1]

    def network_name(self, network_id: str) -> str | None:
        """The name by which listings call a network; None if the cloud has no such network."""
        listed = self._list(_Networks, "network", "/networks", {"id": network_id})
        return next((one.name for one in listed if one.id == network_id), None)

    def _parts(self, template: ServerTemplate) -> Parts:
        return Parts(
            image=self._one("image", template.image, self._images),
            flavor=self._one("flavor", template.flavor, self._flavors),
            networks=tuple(
                name if name in NETWORK_WORDS else self._one("network", name, self._networks)
                for name in template.networks
            ),
        )

    def _one(self, kind: str, name: str, listed: Callable[[str], Iterable[_Thing]]) -> str:
        if is_id(name):
            return name
        found = {one.id for one in listed(name) if name in {one.id, one.name}}
        # a flavor's id may be any word; it counts more than another's name
        found = found & {name} or found
        if len(found) == 1:
            return found.pop()
        if not found:
            raise BadTemplateError(f"the cloud has no {kind} {name}; correct the group's template")
        ids = one_line(", ".join(sorted(found)))
        raise BadTemplateError(
            f"the cloud has {len(found)} of the {kind} {name}; write one's id into the group's template: {ids}"
        )

    def _images(self, name: str) -> Iterable[_Thing]:
        # servers can be made from active ones only
        return self._list(_Images, "image", "/images", {"name": name, "status": "active"})

    def _networks(self, name: str) -> Iterable[_Thing]:
        return self._list(_Networks, "network", "/networks", {"name": name})

    def _flavors(self, _: str) -> Iterable[_Thing]:
        """All of them: Nova finds none by name."""
        found: list[_Thing] = []
        query: dict[str, str | int] = {"limit": _PAGE}
        for _page in range(_MOST_PAGES):
            page = self._list(_Flavors, "compute", "/flavors", query)
            if not page or page[-1].id == query.get("marker"):
                return found
            found += page
            query["marker"] = page[-1].id
        raise CloudError(None, f"the list of flavors does not end within {_MOST_PAGES} pages")

    def _list(self, shape: type[_Found], service: str, path: str, query: Query) -> list[_Thing]:
        return read_json(self._ask(service, path, query), shape).things
