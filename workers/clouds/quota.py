"""What a project may still make, as Nova shows it. Pure."""

from dataclasses import dataclass

import msgspec


class Flavor(msgspec.Struct, frozen=True):
    """What a server of a flavor takes of the quota; `ram` in MiB."""

    vcpus: int
    ram: int


class FlavorAnswer(msgspec.Struct):
    """The answer to GET /flavors/ID."""

    flavor: Flavor


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """A project's quota and use; -1 means unlimited; sizes in MiB."""

    max_total_instances: int
    max_total_cores: int
    max_total_ram_size: int = msgspec.field(name="maxTotalRAMSize")
    total_instances_used: int
    total_cores_used: int
    total_ram_used: int = msgspec.field(name="totalRAMUsed")


class _Absolute(msgspec.Struct):
    absolute: Limits


class LimitsAnswer(msgspec.Struct):
    """The answer to GET /limits."""

    limits: _Absolute


@dataclass(frozen=True, slots=True)
class Wish:
    """Servers that are to be made; the flavor is None if it is unknown."""

    count: int
    flavor: Flavor | None = None


def shortages(limits: Limits, wishes: list[Wish]) -> list[str]:
    """What the quota lacks for these servers, in words."""
    cores = sum(wish.count * wish.flavor.vcpus for wish in wishes if wish.flavor)
    ram = sum(wish.count * wish.flavor.ram for wish in wishes if wish.flavor)
    return [
        f"{wanted} more {what} are needed, and {most - used} of {most} are left"
        for what, wanted, used, most in (
            (
                "instances",
                sum(wish.count for wish in wishes),
                limits.total_instances_used,
                limits.max_total_instances,
            ),
            ("cores", cores, limits.total_cores_used, limits.max_total_cores),
            ("MiB of RAM", ram, limits.total_ram_used, limits.max_total_ram_size),
        )
        if wanted and 0 <= most < used + wanted
    ]
