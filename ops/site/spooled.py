"""What waits in the spools of this host, for `status`, the console and `doctor`."""

from dataclasses import dataclass
from pathlib import Path

from ops.nodes.submit import sent_by
from producers import spool
from producers.settings import HookSettings


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """A spool of this host.

    Attributes:
        folder: where it is.
        calls: calls of hooks, and notices of operators, that the broker has not confirmed.
        oldest_seconds: the age of the oldest.
        set_aside: files that no hook wrote.
        sender: who sends its calls, if not the relay.
        problem: why it cannot be read; then nothing of it is known.
    """

    folder: str
    calls: int = 0
    oldest_seconds: float = 0.0
    set_aside: int = 0
    sender: str | None = None
    problem: str | None = None


def spools(hook: HookSettings) -> list[SpoolStatus]:
    """The hooks' spool and this role's own; empty ones on a host that has none."""
    return [_status(folder, hook) for folder in dict.fromkeys((hook.spool, hook.own_spool))]


def _status(folder: Path, hook: HookSettings) -> SpoolStatus:
    try:
        waiting = spool.waiting(folder)
        aside = len(spool.set_aside(folder))
    except spool.SpoolError as error:
        return SpoolStatus(str(folder), problem=str(error))
    oldest = spool.age(waiting[0]) if waiting else 0.0
    sender = None if folder == hook.spool else sent_by(hook)
    return SpoolStatus(str(folder), len(waiting), oldest, aside, sender)
