"""A webhook, as lamplighter.toml describes it; and which events it asks for. Pure."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from schemas.events import Transition
from workers.config.types import Seconds, Table

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_PATTERN = re.compile(r"([a-z_]+|\*|#)(\.([a-z_]+|\*|#))*")
_TRANSITIONS = frozenset(Transition)
# Where OPUS listens, below its BASE_URL (uws_server/uws_server.py, job_event).
OPUS_PATH = "/handler/job_event"


class Webhook(Table, frozen=True):
    """Who is told of what, and how; seconds.

    Attributes:
        name: unique; it stands in logs and dead letters, where the address does not.
        url: http or https; for OPUS its BASE_URL, or the whole address.
        events: any of a transition (`failed`), a type, or a topic pattern of routing keys (`alarm.#`).
        format: CloudEvents in structured mode, or what OPUS understands of a job that has failed.
        secret_file: signs what is sent; by Standard Webhooks, one secret a line.
        ca_file: whom to trust instead of the public authorities.
        timeout: of one try.
        give_up_after: from the event's arrival to its dead letter.
    """

    name: str
    url: str
    events: tuple[str, ...] = ()
    format: Literal["cloudevents", "opus"] = "cloudevents"
    secret_file: Path | None = None
    ca_file: Path | None = None
    timeout: Seconds = 10.0
    give_up_after: Seconds = 86400.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("name must have 1 to 40 small letters, digits and dashes")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("url must begin with http:// or https:// and a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url must hold no password: whoever reads this file could use it")
        if self.format == "opus" and self.events:
            raise ValueError("events: OPUS understands job.failed alone; leave them out")
        if self.format != "opus" and not self.events:
            raise ValueError('events: say which, for example ["failed", "job.failed", "alarm.#"]')
        for key in self.keys:
            if not _PATTERN.fullmatch(key):
                raise ValueError(f"events: {key!r} is neither a transition nor a topic pattern")

    @property
    def keys(self) -> tuple[str, ...]:
        """The routing keys of its events, as topic patterns."""
        if self.format == "opus":
            return ("job.failed",)
        return tuple(_key(word) for word in self.events)

    @property
    def address(self) -> str:
        """Where to POST."""
        if self.format == "opus" and not self.url.endswith(OPUS_PATH):
            return self.url.rstrip("/") + OPUS_PATH
        return self.url

    def asks_for(self, routing_key: str) -> bool:
        """Whether it is to hear of events with this key."""
        return any(matches(pattern.split("."), routing_key.split(".")) for pattern in self.keys)


class NotifySettings(Table, frozen=True):
    """Who is told of what happens."""

    webhook: tuple[Webhook, ...] = ()

    def __post_init__(self) -> None:
        names = [webhook.name for webhook in self.webhook]
        if len(set(names)) < len(names):
            raise ValueError("two webhooks have one name: give each its own")


def _key(word: str) -> str:
    if word in _TRANSITIONS:
        return Transition(word).routing_key
    return word.removeprefix("lamplighter.").removesuffix(".v1")


def matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """As RabbitMQ's topic exchange: `*` is one word, `#` any number of them."""
    if not pattern:
        return not words
    first, *rest = pattern
    if first == "#":
        return any(matches(rest, words[start:]) for start in range(len(words) + 1))
    return bool(words) and first in {"*", words[0]} and matches(rest, words[1:])
