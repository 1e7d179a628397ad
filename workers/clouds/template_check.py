"""What a template names and Nova alone looks up, at each creation: whether the cloud has it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from workers.clouds.errors import BadTemplateError, CloudError
from workers.clouds.names import Ask
from workers.clouds.servers import is_id
from workers.config.groups import ServerTemplate
from workers.process.foreign import UnreadableError, one_line, read_json

# Nova takes this one without a look.
_DEFAULT_GROUP = "default"


@dataclass(frozen=True, slots=True)
class PartProblem:
    """A field of a template that names what is not there, or what could not be looked up.

    Attributes:
        field: the field.
        words: what is wrong, or why it is not known.
        is_known: whether the cloud has shown what it has.
    """

    field: str
    words: str
    is_known: bool = True


class _Named(msgspec.Struct):
    name: str


class _KeyPair(msgspec.Struct):
    keypair: _Named


class _KeyPairs(msgspec.Struct):
    keypairs: list[_KeyPair]


class _ZoneState(msgspec.Struct):
    available: bool


class _Zone(msgspec.Struct, rename="camel"):
    zone_name: str
    zone_state: _ZoneState


class _Zones(msgspec.Struct):
    zones: list[_Zone] = msgspec.field(name="availabilityZoneInfo")


class _Group(msgspec.Struct):
    id: str
    name: str


class _ServerGroups(msgspec.Struct):
    server_groups: list[_Group]


class _SecurityGroups(msgspec.Struct):
    security_groups: list[_Group]


def part_problems(
    template: ServerTemplate, ask: Ask, project_id: Callable[[], str | None]
) -> Iterator[PartProblem]:
    """What is wrong with a template's key, security groups, availability zone and server group.

    An error of the cloud leaves its field unknown.

    Raises:
        Exception: whatever `ask` raises beside errors of the cloud.
    """

    def group_problem(name: str) -> str | None:
        return _security_group(name, ask, project_id)

    checks: list[tuple[str, str | None, Callable[[str], str | None]]] = [
        ("key_name", template.key_name, lambda name: _key_pair(name, ask)),
        *(("security_groups", name, group_problem) for name in template.security_groups),
        ("availability_zone", template.availability_zone, lambda name: _zone(name, ask)),
        ("server_group", template.server_group, lambda name: _server_group(name, ask)),
    ]
    for field, name, check in checks:
        if name is None:
            continue
        try:
            words = check(name)
        except (CloudError, BadTemplateError, UnreadableError) as error:
            yield PartProblem(field, str(error), is_known=False)
        else:
            if words is not None:
                yield PartProblem(field, one_line(words))


def _key_pair(name: str, ask: Ask) -> str | None:
    listed = read_json(ask("compute", "/os-keypairs", {}), _KeyPairs).keypairs
    names = [one.keypair.name for one in listed]
    if _is_among(name, names):
        return None
    return f"the user that logs in has no key pair {name}; it has {_shown(names)}"


def _zone(name: str, ask: Ask) -> str | None:
    # an administrator may write ZONE:HOST
    zone = name.partition(":")[0]
    listed = read_json(ask("compute", "/os-availability-zone", {}), _Zones).zones
    names = [one.zone_name for one in listed if one.zone_state.available]
    if not zone or zone in names:
        return None
    return f"the cloud has no availability zone {zone} in service; it has {_shown(names)}"


def _server_group(name: str, ask: Ask) -> str | None:
    listed = read_json(ask("compute", "/os-server-groups", {}), _ServerGroups).server_groups
    if _is_among(name, [one.id for one in listed]):
        return None
    there = _shown(f"{one.id} ({one.name})" for one in listed)
    return f"the project has no server group with the id {name}; it has {there}"


def _security_group(name: str, ask: Ask, project_id: Callable[[], str | None]) -> str | None:
    """As Nova: by id in all projects that one may see, then by name in one's own."""
    if name == _DEFAULT_GROUP:
        return None

    def found(**query: str) -> list[_Group]:
        answer = ask("network", "/security-groups", query)
        return read_json(answer, _SecurityGroups).security_groups

    if is_id(name) and _is_among(name, [one.id for one in found(id=name)]):
        return None
    own = project_id()
    scope = {} if own is None else {"tenant_id": own}
    ids = [one.id for one in found(name=name, **scope) if _is_among(name, [one.name])]
    if len(ids) == 1:
        return None
    if not ids:
        return f"the project has no security group {name}"
    return f"the project has {len(ids)} security groups {name}; write one's id: {', '.join(ids)}"


def _is_among(name: str, names: Iterable[str]) -> bool:
    """The databases of most clouds take letters of either case for the same."""
    return name.casefold() in map(str.casefold, names)


def _shown(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
