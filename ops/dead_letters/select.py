"""Choosing dead letters, and what a line or an object says of one. Pure."""

import base64
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ops.cli.terminal import moment
from ops.history.similarity import likeness
from schemas.commands import PowerCommand
from schemas.jobs import JobTransition
from workers.config.settings import Settings
from workers.dead_letters.letter import Letter

# A UUID whole, and as much of a hash.
_SHOWN_ID = 36
_NO_GROUP = "in no group"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters; what is None or empty is not asked.

    Attributes:
        ids: any of these, each a request id, a sha256:... of a malformed body, or its beginning.
        only: any of these ids, whole, with the round that the letter died in.
        nodes: any of these.
        says: the cause's words hold these, in upper or lower case.
        trouble: died of this one trouble, as `trouble` tells them apart.
        before, after: died before this, or not before that; ns since the epoch.
    """

    ids: tuple[str, ...] = ()
    only: Collection[tuple[str, int]] | None = None
    nodes: Collection[str] | None = None
    cause: str | None = None
    says: str | None = None
    trouble: tuple[str, str] | None = None
    queue: str | None = None
    before: int | None = None
    after: int | None = None
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
            (self.only is None or key(letter) in self.only)
            and (not self.ids or letter.id.startswith(self.ids))
            and (self.nodes is None or (command is not None and command.node in self.nodes))
            and (self.cause is None or letter.cause.error == self.cause)
            and (self.says is None or self.says.casefold() in letter.cause.message.casefold())
            and (self.trouble is None or trouble(letter) == self.trouble)
            and (self.queue is None or letter.died_in == self.queue)
            and self._is_of_that_age(letter.died_at)
            and (self.job is None or self.job in jobs_about(letter))
        )

    def _is_of_that_age(self, died_at: int | None) -> bool:
        if died_at is None:
            return self.before is None and self.after is None
        return (self.before is None or died_at < self.before) and (
            self.after is None or died_at >= self.after
        )


def key(letter: Letter) -> tuple[str, int]:
    """What a letter is known by; copies of one share it."""
    return letter.id, letter.round


def trouble(letter: Letter) -> tuple[str, str]:
    """What a letter died of, without what differs from node to node: 500 of one outage are one."""
    return letter.cause.error, likeness(letter.cause.message)


@dataclass(frozen=True, slots=True)
class Places:
    """Where nodes belong by the configuration, which may have forgotten them since."""

    groups: Mapping[str, str]
    clouds: Mapping[str, str]

    @classmethod
    def of(cls, settings: Settings) -> "Places":
        """By lamplighter.toml."""
        clouds = {name: group.cloud for name, group in settings.groups.items()}
        return cls(settings.nodes, {node: clouds[name] for node, name in settings.nodes.items()})

    def group(self, letter: Letter) -> str:
        """The group of a letter's node."""
        return self.groups.get(letter.command.node, _NO_GROUP) if letter.command else _apart(letter)

    def cloud(self, letter: Letter) -> str:
        """The cloud of a letter's node."""
        return self.clouds.get(letter.command.node, _NO_GROUP) if letter.command else _apart(letter)


def _apart(letter: Letter) -> str:
    return "malformed" if letter.undelivered is None else f"webhook {letter.undelivered.webhook}"


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
            "jobs": jobs_of(command),
        }
    return known


def exported(letter: Letter) -> dict[str, object]:
    """Likewise, with the body byte for byte."""
    return {**as_json(letter), "body_base64": base64.b64encode(letter.body).decode()}


def jobs_about(letter: Letter) -> list[int]:
    """The jobs that a request waits for, or that an event is about."""
    told = letter.undelivered.event if letter.undelivered else None
    if told is not None and told.type == JobTransition.FAILED.type and told.subject.isdecimal():
        return [int(told.subject)]
    return jobs_of(letter.command)


def jobs_of(command: PowerCommand | None) -> list[int]:
    """Who waits."""
    return [job.job_id for job in command.jobs] if command else []
