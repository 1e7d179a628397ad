"""Reads a dead letter; its headers and its body are untrusted. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas import headers
from schemas.commands import Kind, PowerCommand, command_from
from schemas.envelope import Envelope
from schemas.errors import MalformedMessageError
from schemas.events import Cause
from schemas.fields import Fields
from workers.broker.delivery import Delivery, count_in, history_from
from workers.broker.sender_check import CAUSE as NOT_ALLOWED
from workers.broker.topology import (
    DEAD_LETTER_QUEUE,
    NOTIFY_AGAIN,
    QUARANTINE,
    RESUME_QUEUE,
    SUSPEND_QUEUE,
)

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt; time in ns since the epoch, None if unknown."""

    attempt: int
    time: int | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An event that a webhook did not accept."""

    webhook: str
    event: Envelope


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: a request, an event that a webhook did not accept, or malformed.

    Attributes:
        tag, body: the delivery's.
        command: the request, or None if it is not one.
        undelivered: the webhook's event, or None if it is not one.
        problem: what is wrong with a malformed body, or why its sender may not say it; or None.
        round: the round that it failed in.
        died_in: the work queue that it failed in.
        died_at: ns since the epoch, or None if unknown.
        cause: why it failed.
        by_broker: whether the broker gave up the delivery; then no worker has ended the round.
        failures: the failed attempts, oldest first.
        asked_by: the broker user with whose authority the request came, or None.
    """

    tag: int
    body: bytes
    command: PowerCommand | None
    problem: str | None
    round: int
    died_in: str
    died_at: int | None
    cause: Cause
    by_broker: bool
    failures: tuple[Failure, ...] = ()
    undelivered: Undelivered | None = None
    asked_by: str | None = None

    @property
    def fault(self) -> str:
        """Why a letter can only be discarded, in a word or two."""
        return "not allowed" if self.cause.error == NOT_ALLOWED else "malformed"

    @property
    def id(self) -> str:
        """The request's id, or WEBHOOK/EVENT, or the hash of a malformed body."""
        if self.command is not None:
            return self.command.id
        if self.undelivered is not None:
            return f"{self.undelivered.webhook}/{self.undelivered.event.id}"
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"


def letter_from(delivery: Delivery) -> Letter:
    """Read a letter from its delivery, which is as its sender's authority made it (`judged`).

    RabbitMQ documents x-death under "Dead Letter Exchanges". The routing key, by which the broker knows
    who may send it, says what a letter is. A message that its sender may not say, or in quarantine, is
    not read, whatever it says it is; nor are the headers of a refused one.
    """
    raw, key, problem = delivery.headers, delivery.routing_key, delivery.refusal
    command, undelivered = None, None
    try:
        if problem is not None:
            raw = {headers.CAUSE: NOT_ALLOWED, headers.CAUSE_MESSAGE: problem,
                   headers.DIED_IN: DEAD_LETTER_QUEUE}  # fmt: skip
        elif key.startswith(f"{QUARANTINE}."):
            problem = _text(raw, headers.CAUSE_MESSAGE) or "its sender may not say it"
        elif key == NOTIFY_AGAIN:
            undelivered = Undelivered(_webhook(raw), delivery.envelope())
        else:
            command = command_from(delivery.envelope())
    except MalformedMessageError as error:
        problem = str(error)
    history, death = history_from(raw), _latest_death(raw)
    cause = _text(raw, headers.CAUSE)
    if cause is not None:
        why = Cause(cause, _text(raw, headers.CAUSE_MESSAGE) or cause)
    elif problem is not None:
        why = Cause("malformed", problem)
    else:
        reason = _text(death, "reason") or "unknown"
        why = Cause(f"broker_{reason}", f"the broker gave up the delivery: {reason}")
    return Letter(
        tag=delivery.tag,
        body=delivery.body,
        command=command,
        problem=problem,
        round=history.round,
        died_in=_text(raw, headers.DIED_IN) or _text(death, "queue") or _queue_of(key),
        died_at=_time(raw.get(headers.DIED_AT)) or _time(death.get("time")),
        cause=why,
        by_broker=cause is None,
        failures=tuple(map(_failure, history.errors)),
        undelivered=undelivered,
        asked_by=delivery.sender,
    )


def _webhook(raw: Mapping[str, Any]) -> str:
    name = _text(raw, headers.WEBHOOK)
    if name is None or not name.isprintable():
        raise MalformedMessageError(headers.WEBHOOK, "names no webhook", "discard it")
    return name


def _latest_death(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    deaths = raw.get("x-death")
    if isinstance(deaths, Sequence) and deaths and isinstance(deaths[0], dict):
        return deaths[0]
    return {}


def _queue_of(routing_key: str) -> str:
    return RESUME_QUEUE if routing_key == Kind.RESUME.routing_key else SUSPEND_QUEUE


def _text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return value if isinstance(value, str) and value else None


def _time(value: object) -> int | None:
    if isinstance(value, datetime):  # pika's: in UTC without a time zone
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(aware.timestamp()) * _NS
    try:
        return Fields({"time": value}, "").instant("time")
    except MalformedMessageError:
        return None


def _failure(error: Mapping[str, Any]) -> Failure:
    return Failure(
        attempt=count_in(error, "attempt", 0),
        time=_time(error.get("time")),
        cause=Cause(_text(error, "error") or "unknown", _text(error, "message") or ""),
    )
