"""The ways from every state of a server to the one that is wanted, as tables. Pure.

Nova's rules behind them (its API guide, "Server concepts", and docs/adr/0008-strategies.md): start
works from SHUTOFF alone; stop from ACTIVE and ERROR; shelve from ACTIVE, SHUTOFF, PAUSED and SUSPENDED;
a hard reboot also from ERROR; delete from everywhere.
"""

import enum
from collections.abc import Mapping

from schemas.commands import Desired

START = "os-start"
STOP = "os-stop"
SHELVE = "shelve"
UNSHELVE = "unshelve"
UNPAUSE = "unpause"
WAKE = "resume"
UNRESCUE = "unrescue"
CONFIRM = "confirmResize"
REBOOT = "reboot"
CREATE = "create"
DELETE = "delete"
TAG = "tag"
BAKE = "createImage"
# Asks for what createImage has made, and changes nothing.
FIND_IMAGE = "findImage"


# What the cloud may have no room for.
NEEDS_ROOM = frozenset({CREATE, UNSHELVE})


class Strategy(enum.StrEnum):
    """How a group's nodes are put out."""

    STOP = "stop"
    SHELVE = "shelve"
    DELETE = "delete"


# Where the table names this instead of an action, the server is as wanted.
HERE = "here"

# States that lead by themselves to another one.
PASSING = frozenset(
    {"BUILD", "REBOOT", "HARD_REBOOT", "MIGRATING", "PASSWORD", "REBUILD", "RESIZE"}
)

_LIGHT: Mapping[str, str] = {
    "ACTIVE": HERE,
    # the guest runs; whether its new size stays is the operator's matter
    "VERIFY_RESIZE": HERE,
    "SHUTOFF": START,
    "SHELVED": UNSHELVE,
    "SHELVED_OFFLOADED": UNSHELVE,
    "PAUSED": UNPAUSE,
    "SUSPENDED": WAKE,
    "RESCUE": UNRESCUE,
    "ERROR": REBOOT,
}
_STOP: Mapping[str, str] = {
    "ACTIVE": STOP,
    "ERROR": STOP,
    "SHUTOFF": HERE,
    "SHELVED": HERE,
    "SHELVED_OFFLOADED": HERE,
    "PAUSED": UNPAUSE,
    "SUSPENDED": WAKE,
    "RESCUE": UNRESCUE,
    "VERIFY_RESIZE": CONFIRM,
}
_SHELVE: Mapping[str, str] = {
    **_STOP,
    "ACTIVE": SHELVE,
    "SHUTOFF": SHELVE,
    "PAUSED": SHELVE,
    "SUSPENDED": SHELVE,
    # offloading is the cloud's own matter: at once by default, and by policy an administrator's
    "SHELVED": HERE,
}
# An image is made of a disk at rest, that is on a host.
_BAKE: Mapping[str, str] = {
    **{status: action for status, action in _STOP.items() if status != "ERROR"},
    "SHUTOFF": BAKE,
    "SHELVED": UNSHELVE,
    "SHELVED_OFFLOADED": UNSHELVE,
}
_EVERYWHERE = (*_LIGHT, "UNKNOWN")
_DELETE: Mapping[str, str] = dict.fromkeys((*_EVERYWHERE, *PASSING), DELETE)


def way(strategy: Strategy, desired: Desired) -> Mapping[str, str]:
    """The next action by the server's status, HERE where it is as wanted.

    A status that is missing needs a person.
    """
    if desired is Desired.UP:
        return {**_LIGHT, "ERROR": DELETE} if strategy is Strategy.DELETE else _LIGHT
    if desired is Desired.GONE or (desired is Desired.DOWN and strategy is Strategy.DELETE):
        return _DELETE
    if desired is Desired.BAKED:
        return _BAKE
    if desired is Desired.ADOPTED:
        return dict.fromkeys((*_EVERYWHERE, *PASSING), HERE)
    out = _STOP if strategy is Strategy.STOP else _SHELVE
    # one that was deployed in vain is replaced, not stopped
    return {**out, "ERROR": DELETE} if desired is Desired.READY else out
