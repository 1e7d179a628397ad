"""Which dead letters a storm may leave: permanent noes alone, each explained by a fault that was injected.

A class of error that is not in the table is a violation, whatever it says.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from storm.evidence import DeadLetter, Injected

# Seconds between a letter and its fault: the workers' clock is stepped by up to 45 s, and a group
# that met a no rests for some seconds, in which it refuses by the same cause.
_APART = 60.0


@dataclass(frozen=True)
class Cause:
    """A fault that can explain a letter.

    Attributes:
        lasting: what it does to a server stays after its end, until somebody repairs it.
    """

    kind: str
    target: str
    lasting: bool = False


def _work(*targets: str) -> tuple[Cause, ...]:
    return tuple(Cause("work", target, lasting=True) for target in targets)


_SAID_NO = {
    "quota": (Cause("answers", "403"),),
    "forbidden": (Cause("answers", "policy"),),
    "bad_request": (Cause("answers", "400"),),
    "conflict": (Cause("answers", "409"), *_work("never")),
    "not_found": (Cause("answers", "404"), Cause("operator", "retire")),
}
# The server ended as its cloud let it end.
_BROKEN = {
    "server_error": _work("error"),
    "no_valid_host": _work("no_host"),
    "boot_timeout": _work("never", "back"),
    "stop_timeout": _work("never"),
    "delete_failed": _work("never", "back", "error", "no_host"),
    "create_failed": _work("back", "error", "no_host"),
    "power_on_failed": (*_work("back"), Cause("server", "dies")),
    "power_off_failed": (*_work("back"), Cause("server", "runs")),
    "unshelve_failed": _work("back"),
    "call_failed": _work("back"),
}
# The operator deleted the server.
_GONE = {
    "server_missing": (
        Cause("operator", "retire", lasting=True),
        Cause("operator", "interrupted", lasting=True),
    )
}
EXPLAINED = {**_SAID_NO, **_BROKEN, **_GONE}


def objection(letter: DeadLetter, injected: Iterable[Injected]) -> str:
    """What is wrong with a letter; empty if nothing is."""
    causes = EXPLAINED.get(letter.error)
    if causes is None:
        return "this is no permanent no"
    if any(_explains(cause, fault, letter.died_at) for fault in injected for cause in causes):
        return ""
    names = ", ".join(f"{cause.kind} {cause.target}" for cause in causes)
    return f"no fault explains it (needed: {names})"


def _explains(cause: Cause, fault: Injected, at: float | None) -> bool:
    if (cause.kind, cause.target) != (fault.kind, fault.target):
        return False
    if at is None:
        return True
    return fault.began - _APART <= at and (cause.lasting or at <= fault.ended + _APART)
