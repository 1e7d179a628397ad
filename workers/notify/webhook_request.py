"""The HTTP request that delivers an event, and its signature. Pure."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.envelope import CONTENT_TYPE
from schemas.fields import printable_line
from workers.errors import LamplighterError

_LONGEST_TEXT = 400
_SHORTEST_SECRET = 24
_PREFIX = "whsec_"


class BadSecretError(LamplighterError):
    """A webhook's secret cannot be used for signing."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """Headers and body of one POST request."""

    headers: Mapping[str, str]
    body: bytes


def cloudevent(body: bytes) -> WebhookRequest:
    """The unsigned request that delivers an event, byte for byte."""
    return WebhookRequest({"content-type": f"{CONTENT_TYPE}; charset=utf-8"}, body)


def signed(
    sent: WebhookRequest, event_id: str, now: int, secrets: Sequence[bytes]
) -> WebhookRequest:
    """Add the headers of Standard Webhooks 1.0 (section "Webhook headers" of its specification).

    The `event_id` is the same for each attempt and replay, so that a receiver recognises a repeat;
    `now` is the time of this attempt, in seconds since the epoch. One signature is made with each of
    the secrets, so that they can be rotated.
    """
    head = {"webhook-id": event_id, "webhook-timestamp": str(now)}
    if secrets:
        content = f"{event_id}.{now}.".encode() + sent.body
        head["webhook-signature"] = " ".join(f"v1,{_mac(secret, content)}" for secret in secrets)
    return WebhookRequest({**sent.headers, **head}, sent.body)


def secrets_from(text: str) -> tuple[bytes, ...]:
    """Parse a secret file: one secret a line, in base64, with or without the prefix `whsec_`.

    Raises:
        BadSecretError: a secret is not base64, or too short; the message does not contain it.
    """
    secrets = []
    for number, line in enumerate(text.split(), 1):
        try:
            secret = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
        except ValueError:
            secret = b""
        if len(secret) < _SHORTEST_SECRET:
            raise BadSecretError(
                f"line {number} is not at least {_SHORTEST_SECRET} bytes in base64; create one with "
                f'`echo "{_PREFIX}$(openssl rand -base64 32)"`'
            )
        secrets.append(secret)
    return tuple(secrets)


def printable(text: str) -> str:
    """Untrusted text on one line, truncated, without control characters and direction marks."""
    return printable_line(text)[:_LONGEST_TEXT]


def _mac(secret: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
