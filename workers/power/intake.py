"""From a delivery to a pending request."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from schemas.commands import PowerCommand, command_from
from schemas.errors import MalformedMessageError
from workers.broker.delivery import Delivery, DeliveryHistory, history_from
from workers.store.requests import RoundKey

# slurmctld writes its state up to 5 s after a change: one that was killed before has forgotten its
# call. A call that comes later than this (seconds) may be such a one.
PROMPT = 10.0
# What comes later than this (seconds) has waited with others: a hook publishes for 3.4 s at most.
_AT_ONCE = 5.0
IsDry = Callable[[str], bool] | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits for its outcome.

    Attributes:
        since: monotonic seconds of its delivery.
        rested: whether it came late, again or from the future: slurmctld may not know of it any more.
        late: whether it comes out of a backlog, for the first time: there may be more for its node.
        dry_run: whether nothing is done for it; only what would be done is reported.
        id: the request's id.
        key: request id and round.
    """

    delivery: Delivery
    command: PowerCommand
    history: DeliveryHistory
    since: float
    dry_run: bool = False
    rested: bool = False
    late: bool = False
    id: str = field(init=False)
    key: RoundKey = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.command.id)
        object.__setattr__(self, "key", (self.id, self.history.round))


def read(delivery: Delivery, cluster: str, at: int, since: float, is_dry: IsDry = None) -> Pending:
    """The request that a delivery for our cluster carries; `at` (ns since the epoch) and `since` are when it came.

    `is_dry` says whether a node is in a dry run; None if none is.

    Raises:
        MalformedMessageError: it carries none, or one of another cluster.
    """
    command = command_from(delivery.envelope())
    if command.cluster != cluster:
        raise MalformedMessageError(
            "source", f"is cluster {command.cluster}, not {cluster}", "give each its own vhost"
        )
    history = history_from(delivery.headers)
    kept = replace(delivery, content=None)  # many wait: their content is in the command
    dry_run = is_dry is not None and is_dry(command.node)
    again = history.parked > 0 or history.attempt > 0
    age = abs(at - command.called) / 1e9
    rested = again or delivery.redelivered or age > PROMPT
    late = not again and age > _AT_ONCE
    return Pending(kept, command, history, since, dry_run, rested, late)
