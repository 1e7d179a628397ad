"""What a failed boot's cause means for its node, and how it is put into Slurm's words. Pure."""

import enum
import re

from schemas.events import Cause

_LONGEST = 240
# What every reason of ours begins with: what others have said of a node is theirs.
OURS = "lamplighter: "


class Weight(enum.StrEnum):
    """How much a cause says against the node.

    TRANSIENT: nothing: the cloud, the network or a login was away.
    RETRYABLE: this boot failed and the next may not: only a repeated failure takes the node out.
    FINAL: the cloud has said no, or a person must mend something.
    """

    TRANSIENT = "transient"
    RETRYABLE = "retryable"
    FINAL = "final"


# Classes of workers/clouds/errors.py, decide.py and engine.py; all others are FINAL.
_TRANSIENT = frozenset(
    {
        *("network", "timeout", "server_side", "over_limit", "unknown"),
        *("unauthorized", "invalid_grant", "token", "token_service_away", "provider_away"),
        *("lease_held", "held_long", "on_hold"),
    }
)
_RETRYABLE = frozenset(
    {
        *("power_on_failed", "unshelve_failed", "create_failed", "call_failed", "delete_failed"),
        *("boot_timeout", "conflict", "not_found"),
    }
)
# Of the whole group: when one of its nodes has booted, it is worth trying the others.
OF_THE_GROUP = frozenset({"quota", "no_valid_host", "bad_template", "forbidden", "bad_request"})
# Why a request is parked though its cloud is well: nothing to give up for.
BUSY = frozenset({"lease_held", "held_long", "on_hold"})


def weigh(error: str) -> Weight:
    """The weight of a cause's class."""
    if error in _TRANSIENT:
        return Weight.TRANSIENT
    return Weight.RETRYABLE if error in _RETRYABLE else Weight.FINAL


def reason(cause: Cause | None) -> str:
    """The reason that Slurm shows: `lamplighter: CLASS: words`.

    A cloud's words are hostile: only printable ASCII stays, at most 240 characters of it. Slurm's
    parser takes a closing double quote away and knows `=`; who reads its output looks for `[user@time]` behind the reason.
    """
    if cause is None:
        return f"{OURS}failed"
    words = f"{cause.error}: {cause.message}".translate(_TAMED)
    return OURS + " ".join(re.sub(r"[^ -~]", " ", words).split())[:_LONGEST].strip()


_TAMED = str.maketrans({"=": ":", "[": "(", "]": ")", '"': "'", "`": "'", "\\": "/"})
