"""Choosing and describing dead letters. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from ops.terminal import moment
from schemas.commands import PowerCommand
from schemas.jobs import JobHappening
from workers.dead_letters.letter import Letter

# A UUID whole, and as much of a hash.
_SHOWN_ID = 36


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters; what is None or empty is not asked.

    Attributes:
        ids: any of these, each a request id, a sha256:... of a malformed body, or its beginning.
        before: died before this, ns since the epoch.
    """

    ids: tuple[str, ...] = ()
    nodes: tuple[str, ...] | None = None
    cause: str | None = None
    queue: str | None = None
    before: int | None = None
    job: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is asked."""
        return self == Choice()

    def of(self, letters: Iterable[Letter]) -> list[Letter]:
        """Those that match all that is asked, in their order."""
        return [letter for letter in letters if self._matches(letter)]

    def _matches(self, letter: Letter) -> bool:
        command = letter.command
        return (
            (not self.ids or any(letter.id.startswith(id_) for id_ in self.ids))
            and (self.nodes is None or (command is not None and command.node in self.nodes))
            and (self.cause is None or letter.cause.error == self.cause)
            and (self.queue is None or letter.died_in == self.queue)
            and (
                self.before is None or (letter.died_at is not None and letter.died_at < self.before)
            )
            and (self.job is None or self.job in _jobs_of(letter))
        )


def row(letter: Letter) -> tuple[object, ...]:
    """A line of the list; COLUMNS names its cells."""
    node, kind = about(letter)
    return (
        letter.id if letter.undelivered else letter.id[:_SHOWN_ID],
        node,
        kind,
        letter.round,
        moment(letter.died_at),
        len(letter.failures),
        f"{letter.cause.error}: {letter.cause.message}",
    )


def about(letter: Letter) -> tuple[str | None, str]:
    """The node, and what kind of letter it is."""
    if letter.command is not None:
        return letter.command.node, str(letter.command.kind)
    if letter.undelivered is not None:
        told = letter.undelivered.event
        return told.subject, told.type.removeprefix("lamplighter.").removesuffix(".v1")
    return None, "malformed"


COLUMNS = ("id", "node", "kind", "round", "died at", "attempts", "cause")


def as_json(letter: Letter) -> dict[str, object]:
    """All that is known, for machines."""
    command = letter.command
    known: dict[str, object] = {
        "id": letter.id,
        "malformed": letter.problem,
        "round": letter.round,
        "died_in": letter.died_in,
        "died_at": moment(letter.died_at) if letter.died_at is not None else None,
        "cause": letter.cause.error,
        "message": letter.cause.message,
        "by_broker": letter.by_broker,
        "attempts": [
            {
                "attempt": failure.attempt,
                "time": moment(failure.time) if failure.time is not None else None,
                "error": failure.cause.error,
                "message": failure.cause.message,
            }
            for failure in letter.failures
        ],
    }
    if letter.undelivered is not None:
        told = letter.undelivered.event
        known |= {"webhook": letter.undelivered.webhook, "type": told.type, "subject": told.subject}
    if command is not None:
        known |= {
            "node": command.node,
            "kind": str(command.kind),
            "generation": command.generation,
            "jobs": _jobs(command),
        }
    return known


def description(letter: Letter, desired: tuple[str, int] | None) -> list[str]:
    """What a person needs to decide: what was asked, what failed, what a replay would do.

    Args:
        letter: the letter.
        desired: the node's desired state and generation as the store holds them, or None.
    """
    command = letter.command
    lines = [f"letter     {letter.id}"]
    if letter.undelivered is not None:
        told = letter.undelivered.event
        lines += [
            f"not taken  by webhook {letter.undelivered.webhook}",
            f"event      {told.type} of {told.subject}, {moment(told.time)}",
        ]
    elif command is None:
        lines += [
            f"malformed  {letter.problem}",
            f"size       {len(letter.body)} bytes; dead-letters show ID --raw FILE exports them",
        ]
    else:
        jobs = ", ".join(str(job) for job in _jobs(command)) or "none"
        lines += [
            f"asked      {command.kind} of {command.node}, {moment(command.generation)}",
            f"from       {command.origin}, hook call {command.correlation_id}",
            f"jobs       {jobs}",
        ]
        if command.note:
            lines.append(f"note       {command.note}")
    lines.append(f"died       in {letter.died_in}, round {letter.round}, {moment(letter.died_at)}")
    lines.append(f"cause      {letter.cause.error}: {letter.cause.message}")
    lines += [
        f"attempt {failure.attempt:<2} {moment(failure.time)}  "
        f"{failure.cause.error}: {failure.cause.message}"
        for failure in letter.failures
    ]
    lines.append(f"on replay  {_prospect(letter, desired)}")
    return lines


def _prospect(letter: Letter, desired: tuple[str, int] | None) -> str:
    command = letter.command
    if letter.undelivered is not None:
        return f"{letter.undelivered.webhook} is told again, under the same webhook-id"
    if command is None:
        return "impossible: it cannot be read; discard it"
    if desired is None:
        return f"{command.node} will be brought {command.desired}"
    state, generation = desired
    if generation <= command.generation:
        return f"{command.node} will be brought {command.desired}; nothing newer was asked"
    if state == command.desired:
        return f"completes with a newer request that wants {command.node} {state} too"
    return f"stale: a newer request wants {command.node} {state}; it will end as superseded"


def _jobs_of(letter: Letter) -> list[int]:
    """The jobs that a request waits for, or that an event is about."""
    told = letter.undelivered.event if letter.undelivered else None
    if told is not None and told.type == JobHappening.FAILED.type and told.subject.isdecimal():
        return [int(told.subject)]
    return _jobs(letter.command)


def _jobs(command: PowerCommand | None) -> list[int]:
    return [job.job_id for job in command.jobs] if command else []
