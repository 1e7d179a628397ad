"""What a webhook is sent for an event. Pure."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from schemas.envelope import CONTENT_TYPE, Envelope
from schemas.errors import MalformedMessageError
from schemas.jobs import JobEvent, JobTransition, job_event_from
from workers.config.webhooks import Webhook
from workers.errors import LamplighterError

_LONGEST_WORDS = 400
_SHORTEST_SECRET = 24
_PREFIX = "whsec_"


class BadSecretError(LamplighterError):
    """A webhook's secret cannot sign."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One POST: its headers and its body."""

    headers: Mapping[str, str]
    body: bytes


def is_for(webhook: Webhook, routing_key: str, envelope: Envelope) -> bool:
    """Whether a webhook is to hear of an event.

    OPUS hears only of jobs that its own batch scripts show: it looks a job up by Slurm's id alone,
    and another cluster's, or one of before Slurm lost its state, may bear the same.
    """
    if not webhook.asks_for(routing_key):
        return False
    job = _failed_job(envelope) if webhook.format == "opus" else None
    return webhook.format != "opus" or (job is not None and job.uws_id is not None)


def request(webhook: Webhook, envelope: Envelope, body: bytes) -> WebhookRequest:
    """The event as the webhook understands it, unsigned.

    Args:
        webhook: whom it is for.
        envelope: the event.
        body: the same, byte for byte.

    Raises:
        MalformedMessageError: it says nothing that the webhook would understand.
    """
    if webhook.format == "cloudevents":
        return WebhookRequest({"content-type": f"{CONTENT_TYPE}; charset=utf-8"}, body)
    job = _failed_job(envelope)
    if job is None:
        raise MalformedMessageError("type", "OPUS does not understand it", "send job.failed")
    return WebhookRequest({"content-type": "application/x-www-form-urlencoded"}, opus_form(job))


def opus_form(job: JobEvent) -> bytes:
    """The parameters of OPUS's POST /handler/job_event (uws_server/uws_server.py, job_event).

    With `phase=ERROR` alone it takes an `error_msg`; of Slurm's own words its PHASE_CONVERT lacks
    BOOT_FAIL, and has one sentence for each of the others.
    """
    where = ", ".join(job.nodes[:5]) + (", ..." if len(job.nodes) > 5 else "")  # noqa: PLR2004 - enough to find the others
    cause = f"{job.cause.error}: {job.cause.message}" if job.cause else "the cause is unknown"
    words = f"{job.state}: {where or 'a node'} could not be started for this job ({cause})"
    form = {"jobid": str(job.job_id), "phase": "ERROR", "error_msg": tamed(words)}
    return urlencode(form).encode("ascii")


def signed(
    sent: WebhookRequest, event_id: str, now: int, secrets: Sequence[bytes]
) -> WebhookRequest:
    """With the headers of Standard Webhooks 1.0 (its specification, "Webhook headers").

    Args:
        sent: what is to be signed.
        event_id: the same for each try and each replay, so that a receiver knows a repeat.
        now: seconds since the epoch, of this try.
        secrets: each signs, so that one can be replaced by another.
    """
    head = {"webhook-id": event_id, "webhook-timestamp": str(now)}
    if secrets:
        content = f"{event_id}.{now}.".encode() + sent.body
        head["webhook-signature"] = " ".join(f"v1,{_mac(secret, content)}" for secret in secrets)
    return WebhookRequest({**sent.headers, **head}, sent.body)


def secrets_from(text: str) -> tuple[bytes, ...]:
    """The secrets of a file: one a line, base64 with or without the prefix `whsec_`.

    Raises:
        BadSecretError: one is not base64, or too short; it is not shown.
    """
    secrets = []
    for number, line in enumerate(text.split(), 1):
        try:
            secret = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) < _SHORTEST_SECRET:
            raise BadSecretError(
                f"line {number} is not at least {_SHORTEST_SECRET} bytes in base64; make one with "
                f'`echo "{_PREFIX}$(openssl rand -base64 32)"`'
            )
        secrets.append(secret)
    return tuple(secrets)


def tamed(words: str) -> str:
    """Foreign words as printable ASCII, cut."""
    return " ".join(re.sub(r"[^ -~]", " ", words).split())[:_LONGEST_WORDS]


def _mac(secret: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def _failed_job(envelope: Envelope) -> JobEvent | None:
    if envelope.type != JobTransition.FAILED.type:
        return None
    try:
        return job_event_from(envelope)
    except MalformedMessageError:
        return None
