"""Filters dead letters, and formats one as a table row or a JSON object. Pure."""

import base64
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ops.audit.similarity import error_pattern
from ops.cli.terminal import Columns, json_moment, short_moment
from ops.dead_letters.letter import Letter
from schemas.commands import PowerCommand
from schemas.jobs import JOB_TRANSITIONS
from schemas.numbers import whole_number
from workers.config.settings import Settings


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """A filter for dead letters; a field that is None or empty does not restrict anything.

    Attributes:
        ids: any of these ids, or of ids that start with one: a request id, or the sha256:... of a
            malformed body.
        only: any of these whole ids, with the round that the letter died in.
        message: the error message contains this text, in upper or lower case.
        trouble: the result of the function `trouble`.
        stale: only stale letters (ops/dead_letters/context.py); `of` does not know which ones are.
        before, after: died before, or at or after, this time; ns since the epoch.
    """

    ids: tuple[str, ...] = ()
    only: Collection[tuple[str, int]] | None = None
    nodes: Collection[str] | None = None
    cause: str | None = None
    message: str | None = None
    trouble: tuple[str, str] | None = None
    queue: str | None = None
    before: int | None = None
    after: int | None = None
    job: int | None = None
    stale: bool = False

    @property
    def everything(self) -> bool:
        """Whether the filter matches every letter."""
        return self == LetterFilter()

    def of(self, letters: Iterable[Letter]) -> list[Letter]:
        """The letters that match all fields, in their order."""
        return [letter for letter in letters if self._matches(letter)]

    def _matches(self, letter: Letter) -> bool:
        command = letter.command
        return (
            (self.only is None or key(letter) in self.only)
            and (not self.ids or letter.id.startswith(self.ids))
            and (self.nodes is None or (command is not None and command.node in self.nodes))
            and (self.cause is None or letter.cause.error == self.cause)
            and (self.message is None or self.message.casefold() in letter.cause.message.casefold())
            and (self.trouble is None or trouble(letter) == self.trouble)
            and (self.queue is None or letter.died_in == self.queue)
            and self._matches_age(letter.died_at)
            and (self.job is None or self.job in jobs_about(letter))
        )

    def _matches_age(self, died_at: int | None) -> bool:
        # a time that is unknown is neither before nor after another
        return (self.before is None or (died_at is not None and died_at < self.before)) and (
            self.after is None or (died_at is not None and died_at >= self.after)
        )


def key(letter: Letter) -> tuple[str, int]:
    """The identity of a letter; copies of a letter share it."""
    return letter.id, letter.round


def trouble(letter: Letter) -> tuple[str, str]:
    """The error and its message without what differs from node to node, such as ids and numbers."""
    return letter.cause.error, error_pattern(letter.cause.message)


@dataclass(frozen=True, slots=True)
class Places:
    """The groups and clouds of nodes; a letter's node may no longer be in the configuration."""

    groups: Mapping[str, str]
    clouds: Mapping[str, str]

    @classmethod
    def of(cls, settings: Settings) -> "Places":
        """From lamplighter.toml."""
        clouds = {name: group.cloud for name, group in settings.groups.items()}
        return cls(settings.nodes, {node: clouds[name] for node, name in settings.nodes.items()})

    def group(self, letter: Letter) -> str:
        """The group of a letter's node."""
        return _of_node(self.groups, letter)

    def cloud(self, letter: Letter) -> str:
        """The cloud of a letter's node."""
        return _of_node(self.clouds, letter)


def _of_node(values: Mapping[str, str], letter: Letter) -> str:
    if letter.command is not None:
        return values.get(letter.command.node, "in no group")
    return letter.fault if letter.undelivered is None else f"webhook {letter.undelivered.webhook}"


def about(letter: Letter) -> tuple[str | None, str]:
    """The node, and the kind of the letter."""
    if letter.command is not None:
        return letter.command.node, str(letter.command.kind)
    if letter.undelivered is not None:
        event = letter.undelivered.event
        return event.subject, event.type.removeprefix("lamplighter.").removesuffix(".v1")
    return None, letter.fault


def columns(short: Mapping[str, str], stale: Collection[tuple[str, int]]) -> Columns[Letter]:
    """The columns of a table of letters.

    `short` has what is printed for each id; letters whose key is in `stale` are marked.
    """

    def kind(letter: Letter) -> str:
        return f"{about(letter)[1]}{', STALE' if key(letter) in stale else ''}"

    return {
        "id": lambda letter: short[letter.id],
        "node": lambda letter: about(letter)[0],
        "kind": kind,
        "died": lambda letter: short_moment(letter.died_at),
        "cause": lambda letter: str(letter.cause),
    }


def as_json(letter: Letter) -> dict[str, object]:
    """A JSON object with all that the letter contains, except its body."""
    command = letter.command
    known: dict[str, object] = {
        "id": letter.id,
        "malformed": letter.problem,
        "round": letter.round,
        "died_in": letter.died_in,
        "died_at": json_moment(letter.died_at),
        "cause": letter.cause.error,
        "message": letter.cause.message,
        "by_broker": letter.by_broker,
        "attempts": [
            {
                "attempt": failure.attempt,
                "time": json_moment(failure.time),
                "error": failure.cause.error,
                "message": failure.cause.message,
            }
            for failure in letter.failures
        ],
    }
    if letter.undelivered is not None:
        event, webhook = letter.undelivered.event, letter.undelivered.webhook
        known |= {"type": event.type, "subject": event.subject, "webhook": webhook}
    if command is not None:
        known |= {
            "node": command.node,
            "kind": str(command.kind),
            "generation": command.generation,
            "jobs": jobs_of(command),
        }
    return known


def exported(letter: Letter) -> dict[str, object]:
    """`as_json` with the body, byte for byte."""
    return {**as_json(letter), "body_base64": base64.b64encode(letter.body).decode()}


def jobs_about(letter: Letter) -> list[int]:
    """The jobs that wait for a request, or the job that an event is about."""
    event = letter.undelivered.event if letter.undelivered else None
    if event is not None and event.type in JOB_TRANSITIONS:
        job = whole_number(event.subject)
        return [] if job is None else [job]
    return jobs_of(letter.command)


def jobs_of(command: PowerCommand | None) -> list[int]:
    """The jobs that wait for a request."""
    return [job.job_id for job in command.jobs] if command else []
