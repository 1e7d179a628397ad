"""What a fault is given, and what a fault is."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TypeAlias

from storm.site import Site


class DoesNotEndError(RuntimeError):
    """A process does not end although it was told to; the text says which."""


class NothingHitError(RuntimeError):
    """A fault finds nothing that it could hit; the text says what is missing."""


@dataclass(frozen=True)
class Hit:
    """One fault that is carried out.

    Attributes:
        target: as in the plan.
        chance: of this fault alone.
        cut_power: nodes and times at which a server was powered off behind Lamplighter's back, or a
            node was powered down in Slurm by the operator.
    """

    site: Site
    target: str
    chance: random.Random
    cut_power: list[tuple[str, float]]

    def cuts_power_of(self, node: str) -> None:
        """Note that the node loses its power now, and that we are the cause."""
        self.cut_power.append((node, time.time()))


Fault: TypeAlias = Callable[[Hit], AbstractContextManager[None]]


def at_once(does: Callable[[Hit], None]) -> Fault:
    """A fault that has nothing to undo."""

    @wraps(does)
    @contextmanager
    def fault(hit: Hit) -> Iterator[None]:
        does(hit)
        yield

    return fault
