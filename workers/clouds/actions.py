"""Nova's actions, and which one leads from each status of a server to the wanted state, as tables. Pure.

The rules are Nova's (its API guide, "Server concepts", and docs/adr/0008-strategies.md): start works
from SHUTOFF only; stop from ACTIVE and ERROR; shelve from ACTIVE, SHUTOFF, PAUSED and SUSPENDED; a hard
reboot from ACTIVE, SHUTOFF and ERROR; delete from every status.
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
# Looks for the image that createImage has made, and changes nothing.
FIND_IMAGE = "findImage"

# What the cloud may have no room for.
NEEDS_ROOM = frozenset({CREATE, UNSHELVE})
# What makes a guest boot.
BOOTS = frozenset({START, CREATE, UNSHELVE, REBOOT})


class Strategy(enum.StrEnum):
    """How a group's nodes are powered off."""

    STOP = "stop"
    SHELVE = "shelve"
    DELETE = "delete"


# In the tables, instead of an action: the server is as wanted.
HERE = "here"

# Nova's task of a server that is being deleted.
DELETING = "deleting"

# Nova's status of a server of which it cannot say more: its cell does not answer.
UNSEEN = "UNKNOWN"

# Statuses that lead to another one by themselves.
PASSING = frozenset(
    {
        "BUILD",
        "REBOOT",
        "HARD_REBOOT",
        "MIGRATING",
        "PASSWORD",
        "REBUILD",
        "RESIZE",
        "REVERT_RESIZE",
    }
)

# Statuses in which no job can run on a server; in each other one its guest may still be there.
NO_JOB = frozenset({"BUILD", "SHUTOFF", "SHELVED", "SHELVED_OFFLOADED", "ERROR"})

_UP: Mapping[str, str] = {
    "ACTIVE": HERE,
    # the guest runs; the operator decides whether its new size stays
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
    # Nova offloads by itself: at once by default, and by policy only for administrators
    "SHELVED": HERE,
}
# An image is made of a disk that is at rest and on a host.
_BAKE: Mapping[str, str] = {
    **{status: action for status, action in _STOP.items() if status != "ERROR"},
    "SHUTOFF": BAKE,
    "SHELVED": UNSHELVE,
    "SHELVED_OFFLOADED": UNSHELVE,
}
_EVERYWHERE = (*_UP, UNSEEN)
_DELETE: Mapping[str, str] = dict.fromkeys((*_EVERYWHERE, *PASSING), DELETE)


def _next_actions(strategy: Strategy, desired: Desired) -> Mapping[str, str]:
    if desired is Desired.UP:
        return {**_UP, "ERROR": DELETE} if strategy is Strategy.DELETE else _UP
    if desired is Desired.GONE or (desired is Desired.DOWN and strategy is Strategy.DELETE):
        return _DELETE
    if desired is Desired.BAKED:
        return _BAKE
    if desired is Desired.ADOPTED:
        return dict.fromkeys((*_EVERYWHERE, *PASSING), HERE)
    off = _STOP if strategy is Strategy.STOP else _SHELVE
    # a server whose deployment failed is replaced, not stopped
    return {**off, "ERROR": DELETE} if desired is Desired.READY else off


# The next action by the server's status; HERE where the server is as wanted. A status that is missing
# needs an operator.
NEXT_ACTIONS = {
    (strategy, desired): _next_actions(strategy, desired)
    for strategy in Strategy
    for desired in Desired
}
