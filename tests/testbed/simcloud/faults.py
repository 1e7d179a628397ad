"""The active faults, which each call looks up once."""

import random
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from tests.testbed.simcloud.effects import Effect, Fate
from tests.testbed.simcloud.kinds import KINDS, WORKS


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An effect on matching calls.

    ``kind`` is a kind of call or a group of kinds (see ``kinds``). ``server`` is a glob over server
    names; calls that are not about one server match only ``*``. The fault ends after ``times``
    matches (``None``: never) and affects a matching call with ``probability``. A fate matches only
    calls that start some work.
    """

    effect: Effect
    kind: str = "any"
    server: str = "*"
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    probability: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: unknown {self.kind!r}; one of {', '.join(sorted(KINDS))}")

    def matches(self, kind: str, server: str) -> bool:
        if isinstance(self.effect, Fate) and kind not in WORKS:
            return False
        return kind in KINDS[self.kind] and fnmatchcase(server, self.server)


class FaultBook:
    """The active faults, oldest first; at most one affects a call."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._faults: dict[int, tuple[Fault, int | None]] = {}
        self._last_id = 0

    def add(self, fault: Fault) -> int:
        """Add ``fault``; return its number."""
        self._last_id += 1
        self._faults[self._last_id] = (fault, fault.times)
        return self._last_id

    def remove(self, number: int) -> bool:
        """Remove one fault; return whether it was active."""
        return self._faults.pop(number, None) is not None

    def clear(self) -> None:
        self._faults.clear()

    def in_force(self) -> dict[int, tuple[Fault, int | None]]:
        """Return each fault by its number, with its remaining matches."""
        return dict(self._faults)

    def strike(self, kind: str, server: str) -> Effect | None:
        """Return the effect on a call of ``kind`` about ``server``; count one match of the fault."""
        for number, (fault, left) in self._faults.items():
            if not fault.matches(kind, server):
                continue
            if fault.probability < 1 and self._rng.random() >= fault.probability:
                continue
            if left == 1:
                del self._faults[number]
            elif left is not None:
                self._faults[number] = (fault, left - 1)
            return fault.effect
        return None
