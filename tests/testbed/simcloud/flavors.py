"""The flavors of the cloud."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flavor:
    id: str
    name: str
    vcpus: int
    ram_mib: int
    disk_gib: int


HUGE = Flavor("9", "m1.huge", 2000, 9_999_999, 1)
"""Fits on no host: a server of this flavor goes to ERROR."""

FLAVORS = {
    flavor.name: flavor
    for flavor in (
        Flavor("1", "m1.tiny", 1, 512, 1),
        Flavor("2", "m1.large", 8, 16_384, 80),
        HUGE,
    )
}
