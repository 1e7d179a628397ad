"""Defines webhooks, and matches events with their subscriptions. Pure."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from producers.addresses import has_secret_field, plaintext_problem, split_url
from schemas.events import Transition
from schemas.jobs import JobTransition
from schemas.notices import FAMILIES
from schemas.registrations import ROUTING_KEY as REGISTERED
from workers.config.types import Seconds, Table

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_PATTERN = re.compile(r"([a-z_]+|\*|#)(\.([a-z_]+|\*|#))*")
_VERSION = re.compile(r"\.v[0-9]+\Z")
_TRANSITIONS = frozenset(Transition)
_EVENTS = (*(transition.routing_key for transition in (*Transition, *JobTransition)), REGISTERED)
# Where OPUS listens, below its BASE_URL (uws_server/uws_server.py, job_event).
OPUS_PATH = "/handler/job_event"
# The event that OPUS gets only if the webhook asks for it.
OPUS_WAITING = "job.waiting"


class Webhook(Table, frozen=True):
    """A receiver of events. Durations are seconds.

    Attributes:
        name: unique; logs and dead letters show it instead of the address.
        url: http or https; for OPUS its BASE_URL, or the full address. Without it, give url_file.
        url_file: holds the address, if it is itself a secret; instead of url.
        events: at least one: transitions (`failed`), types, or topic patterns of routing keys (`alarm.#`);
            for OPUS `job.waiting` at most.
        format: CloudEvents in structured mode, or OPUS's own format for its jobs.
        secret_file: secrets that sign the requests (Standard Webhooks), one per line.
        ca_file: the authority to trust instead of the public ones.
        timeout: time limit of an attempt.
        give_up_after: time from the event's arrival until it becomes a dead letter.
        insecure: whether http:// is allowed to another host.
    """

    name: str
    url: str | None = None
    url_file: Path | None = None
    events: tuple[str, ...] = ()
    format: Literal["cloudevents", "opus"] = "cloudevents"
    secret_file: Path | None = None
    ca_file: Path | None = None
    timeout: Seconds = 10.0
    give_up_after: Seconds = 86400.0
    insecure: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("name must have 1 to 40 lower-case letters, digits and dashes")
        if (self.url is None) == (self.url_file is None):
            raise ValueError("give either url or url_file")
        if self.url is not None:
            self.address(self.url)
            if has_secret_field(urlsplit(self.url).query):
                raise ValueError(
                    "url must not contain a token: write the address into a file, and name it in url_file"
                )
        if self.format == "opus" and not set(self.events) <= {OPUS_WAITING}:
            raise ValueError(
                f'events: OPUS gets how its jobs end; only ["{OPUS_WAITING}"] can be added'
            )
        if self.format != "opus" and not self.events:
            raise ValueError('events: are missing, for example ["failed", "job.failed", "alarm.#"]')
        for key in self.keys:
            if not _PATTERN.fullmatch(key):
                raise ValueError(f"events: {key!r} is neither a transition nor a topic pattern")
            if not _names_an_event(key):
                raise ValueError(
                    f"events: no event is called {key!r}: write {', '.join(Transition)}, or a pattern"
                    f" of {', '.join(_EVENTS)}, {', '.join(f'{one}*' for one in FAMILIES)}"
                )

    @property
    def keys(self) -> tuple[str, ...]:
        """The topic patterns of its events."""
        if self.format == "opus":
            return ("job.failed", "job.finished", *self.events)
        return tuple(_key(word) for word in self.events)

    def address(self, url: str) -> str:
        """The address to POST to, for `url` or the content of `url_file`.

        Raises:
            ValueError: it may not be used; the text quotes nothing of it.
        """
        parts = split_url(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("url must begin with http:// or https:// and a host")
        if parts.username is not None:
            raise ValueError("url must not contain a password: other users may read this file")
        if not self.insecure and (problem := plaintext_problem(parts.scheme, parts.hostname)):
            raise ValueError(f"url {problem}")
        if self.format == "opus" and not url.endswith(OPUS_PATH):
            return url.rstrip("/") + OPUS_PATH
        return url

    def wants(self, type_: str) -> bool:
        """Whether the webhook subscribes to events of this CloudEvents type, in any version of it."""
        return self.subscribes_to(_key(_VERSION.sub("", type_)))

    def subscribes_to(self, routing_key: str) -> bool:
        """Whether the webhook subscribes to events with this routing key."""
        return any(matches(pattern.split("."), routing_key.split(".")) for pattern in self.keys)


class NotifySettings(Table, frozen=True):
    """The receivers of events."""

    webhook: tuple[Webhook, ...] = ()

    def __post_init__(self) -> None:
        names = [webhook.name for webhook in self.webhook]
        if len(set(names)) < len(names):
            raise ValueError("two webhooks have the same name: give each its own")


def _key(word: str) -> str:
    if word in _TRANSITIONS:
        return Transition(word).routing_key
    return word.removeprefix("lamplighter.").removesuffix(".v1")


def _names_an_event(key: str) -> bool:
    """Whether events can have this routing key, or one that this pattern matches."""
    # a notice can have any name in its family
    return key.startswith(("*", "#", *FAMILIES)) or any(
        matches(key.split("."), event.split(".")) for event in _EVENTS
    )


def matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """Match words with a pattern as RabbitMQ's topic exchange: `*` is one word, `#` any number."""
    if not pattern:
        return not words
    first, *rest = pattern
    if first == "#":
        return any(matches(rest, words[start:]) for start in range(len(words) + 1))
    return bool(words) and first in {"*", words[0]} and matches(rest, words[1:])
