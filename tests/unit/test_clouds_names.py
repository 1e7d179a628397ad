"""Names of a template's image, flavor and networks become ids, or the template's fault, or a named error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.clouds.errors import BadTemplateError, CloudError
from workers.clouds.names import Names
from workers.clouds.nova_requests import Parts
from workers.config.groups import ServerTemplate
from workers.process.foreign import UnreadableError

if TYPE_CHECKING:
    from workers.clouds.names import Query

UUID = "70a599e0-31e7-49b7-b260-868f441e862b"
TEMPLATE = ServerTemplate(image="base", flavor="m1.tiny", networks=("slurm",))


class Services:
    """Glance, Nova and Neutron with these things, as (id, name)."""

    def __init__(self, **things: list[tuple[str, str | None]]) -> None:
        self.things = {
            "images": [("image-1", "base")],
            "flavors": [("1", "m1.tiny"), ("2", "m1.large")],
            "networks": [("net-1", "slurm")],
        } | things
        self.asked: list[str] = []
        self.now = 0.0
        self.page = 1000

    def __call__(self, service: str, path: str, query: Query) -> bytes:
        kind = path.removeprefix("/")
        self.asked.append(kind)
        things: list[dict[str, Any]] = [{"id": i, "name": n} for i, n in self.things[kind]]
        if kind == "flavors":
            assert service == "compute"
            ids = [one["id"] for one in things]
            first = ids.index(query["marker"]) + 1 if "marker" in query else 0
            things = things[first : first + self.page]
        elif "name" in query:
            things = [one for one in things if one["name"] == query["name"]]
        return json.dumps({kind: things}).encode()

    def names(self) -> Names:
        return Names(self, lambda: self.now)


def test_names_become_ids() -> None:
    assert Services().names().resolve(TEMPLATE) == Parts("image-1", "1", ("net-1",))


def test_ids_and_words_need_no_look_up() -> None:
    services = Services()
    template = ServerTemplate(image=UUID, flavor=UUID, networks=("auto",))
    assert services.names().resolve(template) == Parts(UUID, UUID, ("auto",))
    assert services.asked == []


@pytest.mark.parametrize("name", [UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}"])
def test_a_name_of_hexadecimal_digits_is_a_name(name: str) -> None:
    services = Services(images=[("image-7", name)], networks=[("net-7", name)])
    template = ServerTemplate(image=name, flavor=UUID, networks=(name,))
    assert services.names().resolve(template) == Parts("image-7", UUID, ("net-7",))


def test_what_was_found_is_kept_for_a_while_and_looked_up_anew_on_demand() -> None:
    services = Services()
    names = services.names()
    first = names.resolve(TEMPLATE)
    services.things["images"] = [("image-2", "base")]
    assert names.resolve(TEMPLATE) == first
    assert len(services.asked) == 4, "each once, and a second page of flavors"
    assert names.resolve(TEMPLATE, again=True).image == "image-2"
    services.things["images"] = [("image-3", "base")]
    services.now += 301.0
    assert names.resolve(TEMPLATE).image == "image-3"


def test_a_flavor_is_found_on_any_page_and_its_id_counts_more_than_a_name() -> None:
    flavors: list[tuple[str, str | None]] = [(str(n), f"f{n}") for n in range(5)]
    services = Services(flavors=[*flavors, ("small", "other"), ("x", "small"), ("m1.tiny", "y")])
    services.page = 2
    names = services.names()
    assert names.resolve(ServerTemplate(image=UUID, flavor="f4")).flavor == "4"
    assert names.resolve(ServerTemplate(image=UUID, flavor="small")).flavor == "small"


@pytest.mark.parametrize(
    ("things", "problem"),
    [
        ({"images": []}, "the cloud has no image base"),
        ({"images": [("a", "base"), ("b", "base")]}, "2 of the image base.*: a, b"),
        ({"flavors": []}, "no flavor m1.tiny"),
        ({"flavors": [("a", "m1.tiny"), ("b", "m1.tiny")]}, "2 of the flavor"),
        ({"networks": []}, "no network slurm"),
        ({"networks": [("a", "slurm"), ("b", "slurm")]}, "2 of the network slurm"),
    ],
)
def test_no_such_thing_and_several_are_the_templates_fault(
    things: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BadTemplateError, match=problem):
        Services(**things).names().resolve(TEMPLATE)


def test_a_list_of_flavors_without_end_is_an_error() -> None:
    class Endless(Services):
        def __call__(self, service: str, path: str, query: Query) -> bytes:
            if path != "/flavors":
                return super().__call__(service, path, query)
            number = int(query.get("marker", 0)) + 1
            return json.dumps({"flavors": [{"id": str(number), "name": "f"}]}).encode()

    with pytest.raises(CloudError, match="does not end"):
        Endless().names().resolve(TEMPLATE)


def test_the_name_of_a_network_is_looked_up_by_its_id() -> None:
    names = Services(networks=[(UUID, "slurm"), ("other", "x")]).names()
    assert names.network_name(UUID) == "slurm"
    assert names.network_name("gone") is None


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["images", "flavors", "networks", "id", "name"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_ids_or_a_named_error(body: bytes) -> None:
    names = Names(lambda *_: body)
    try:
        parts = names.resolve(TEMPLATE)
    except (UnreadableError, BadTemplateError, CloudError) as error:
        assert str(error).isprintable()  # noqa: PT017 - one of two ends
    else:
        assert parts.image.isascii()
        assert "/" not in parts.image
