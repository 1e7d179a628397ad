"""Which calls go wrong: a book of faults, looked up once per call."""

import random
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from tests.testbed.simcloud.effects import Effect, Fate
from tests.testbed.simcloud.kinds import KINDS, WORKS


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An effect on the calls that match.

    ``kind`` is a kind of call or a group of kinds (see ``kinds``); ``server`` a glob over server
    names, which a call about no single server matches only as ``*``. The fault is used up after
    ``times`` matches (``None``: never) and strikes a matching call with ``probability``. A fate
    matches only calls that begin some work.
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
    """The faults in force, oldest first; the first that strikes is the only one."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._faults: dict[int, tuple[Fault, int | None]] = {}
        self._last_id = 0

    def add(self, fault: Fault) -> int:
        """Put ``fault`` in force and return its number."""
        self._last_id += 1
        self._faults[self._last_id] = (fault, fault.times)
        return self._last_id

    def remove(self, number: int) -> bool:
        """Lift one fault; return whether it was in force."""
        return self._faults.pop(number, None) is not None

    def clear(self) -> None:
        self._faults.clear()

    def in_force(self) -> dict[int, tuple[Fault, int | None]]:
        """Return each fault by its number, with the strikes it has left."""
        return dict(self._faults)

    def strike(self, kind: str, server: str) -> Effect | None:
        """Return the effect on a call of ``kind`` about ``server``, and use the fault up by one."""
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
