"""Defines what the cause of a failed boot means for its node, and its text in Slurm. Pure."""

import enum

from schemas.events import Cause
from schemas.fields import printable_line
from schemas.snapshot import OWN_REASON
from workers.clouds.errors import NO_ROOM

_MOST_CHARACTERS = 240


class CauseKind(enum.StrEnum):
    """How much a cause speaks against the node.

    TRANSIENT: not at all: the cloud, the network or a login was unavailable.
    RETRYABLE: this boot failed, the next may succeed: only a second failure takes the node out.
    FINAL: the cloud refused, or an operator must fix something.
    """

    TRANSIENT = "transient"
    RETRYABLE = "retryable"
    FINAL = "final"


# Classes of workers/clouds/errors.py and of the power worker; all others are FINAL.
_TRANSIENT = frozenset(
    {
        *("network", "timeout", "server_side", "over_limit", "unreadable_answer", "unknown"),
        *("unauthorized", "invalid_grant", "token", "token_service_away", "provider_away"),
        *("lease_held", "held_long", "on_hold", "unconfirmed"),
    }
)
_RETRYABLE = frozenset(
    {
        *("power_on_failed", "unshelve_failed", "create_failed", "call_failed", "delete_failed"),
        *("boot_timeout", "conflict", "not_found"),
    }
)
# Causes that affect the whole group: once one of its nodes has booted, the others are worth a try.
GROUP_CAUSES = NO_ROOM | {"bad_template", "forbidden", "bad_request"}
# Causes for which a request is parked although its cloud is available: the node is not given back. Nor is
# one while a worker holds its lease, but to wait for that counts: its cloud may be away afterwards.
BUSY = frozenset({"held_long", "on_hold", "unconfirmed", "implausible_generation"})


def kind_of(error: str) -> CauseKind:
    """What kind of cause a class of errors is."""
    if error in _TRANSIENT:
        return CauseKind.TRANSIENT
    return CauseKind.RETRYABLE if error in _RETRYABLE else CauseKind.FINAL


def reason(cause: Cause | None) -> str:
    """The reason that Slurm shows: `lamplighter: CLASS: message`.

    The message of a cloud is untrusted: only printable characters remain, at most 240 of them.
    Slurm's parser interprets `=` and removes a final double quote; readers of its output look for
    `[user@time]` after the reason.
    """
    if cause is None:
        return f"{OWN_REASON}failed"
    text = str(cause).translate(_REPLACEMENTS)
    return OWN_REASON + printable_line(text)[:_MOST_CHARACTERS].strip()


def cause_in(reason: str, otherwise: str) -> Cause:
    """The cause in a reason that `reason` has made; `otherwise` is its message if there is none."""
    error, _, message = reason.removeprefix(OWN_REASON).partition(": ")
    return Cause(error or "unknown", message or otherwise)


_REPLACEMENTS = str.maketrans({"=": ":", "[": "(", "]": ")", '"': "'", "`": "'", "\\": "/"})
