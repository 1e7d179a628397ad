"""Which events a webhook gets, as which HTTP request, and how it is signed. Pure."""

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


def is_for(webhook: Webhook, routing_key: str, envelope: Envelope) -> bool:
    """Whether a webhook gets an event.

    OPUS gets only jobs that its own batch scripts submitted: it finds a job by Slurm's job id
    alone, and jobs of another cluster, or from before Slurm lost its state, may have the same id.
    """
    if webhook.format != "opus" or not webhook.subscribes_to(routing_key):
        return webhook.subscribes_to(routing_key)
    job = _failed_job(envelope)
    return job is not None and job.uws_id is not None


def request(webhook: Webhook, envelope: Envelope, body: bytes) -> WebhookRequest:
    """The unsigned request for an event, in the webhook's format; `body` is it, byte for byte.

    Raises:
        MalformedMessageError: the event cannot be expressed in the webhook's format.
    """
    if webhook.format == "cloudevents":
        return WebhookRequest({"content-type": f"{CONTENT_TYPE}; charset=utf-8"}, body)
    job = _failed_job(envelope)
    if job is None:
        raise MalformedMessageError("type", "is not supported by OPUS", "send job.failed")
    return WebhookRequest({"content-type": "application/x-www-form-urlencoded"}, opus_form(job))


def opus_form(job: JobEvent) -> bytes:
    """The parameters of OPUS's POST /handler/job_event (uws_server/uws_server.py, job_event).

    OPUS reads an `error_msg` only with `phase=ERROR`. Slurm's states would lose the cause: its
    PHASE_CONVERT has one fixed sentence for each of them, and none for BOOT_FAIL.
    """
    where = ", ".join(job.nodes[:5]) + (", ..." if len(job.nodes) > 5 else "")  # noqa: PLR2004 - enough to identify the job
    cause = f"{job.cause.error}: {job.cause.message}" if job.cause else "the cause is unknown"
    message = f"{job.state}: {where or 'a node'} could not be started for this job ({cause})"
    form = {"jobid": str(job.job_id), "phase": "ERROR", "error_msg": printable(message)}
    return urlencode(form).encode("ascii")


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
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) < _SHORTEST_SECRET:
            raise BadSecretError(
                f"line {number} is not at least {_SHORTEST_SECRET} bytes in base64; create one with "
                f'`echo "{_PREFIX}$(openssl rand -base64 32)"`'
            )
        secrets.append(secret)
    return tuple(secrets)


def printable(text: str) -> str:
    """Untrusted text as printable ASCII, truncated."""
    return " ".join(re.sub(r"[^ -~]", " ", text).split())[:_LONGEST_TEXT]


def _mac(secret: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def _failed_job(envelope: Envelope) -> JobEvent | None:
    if envelope.type != JobTransition.FAILED.type:
        return None
    try:
        return job_event_from(envelope)
    except MalformedMessageError:
        return None
