"""Sends HTTP requests to one webhook."""

import time
from urllib.parse import urlsplit

import requests

from producers.reasons import AuthoritiesError, causes
from workers.config.webhooks import Webhook
from workers.notify.verdict import Response
from workers.notify.webhook_request import BadSecretError, WebhookRequest, secrets_from, signed
from workers.process.foreign import bounded_session
from workers.process.recent_secrets import RecentSecrets
from workers.process.retry_after import requested_wait
from workers.tokens.errors import SourceError
from workers.tokens.secret import SecretFile

_MAX_READ = 4096
# A rotated secret, and the address, before and after.
_SECRETS = 8
_USER_AGENT = "lamplighter"


class WebhookClient:
    """The connection to one webhook.

    Proxies and passwords are not taken from the environment or ~/.netrc. TLS certificates are
    verified. Redirects are not followed: a notification must not reach another receiver.
    """

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook
        self._secret = SecretFile(webhook.secret_file) if webhook.secret_file else None
        self._url_file = SecretFile(webhook.url_file) if webhook.url_file else None
        self._http = bounded_session(webhook.ca_file, webhook.timeout, most=_MAX_READ, cut=True)
        self._http.trust_env = False
        self._secrets = RecentSecrets(_SECRETS)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def send(self, request: WebhookRequest, event_id: str) -> Response:
        """Send once. Errors are returned too, without the address, which may hold a secret."""
        try:
            text = self._secret.read() if self._secret else ""
            sent = signed(request, event_id, int(time.time()), secrets_from(text))
        except (SourceError, BadSecretError) as error:
            return Response(None, f"secret_file: {error}")
        try:
            url = self._url_file.read() if self._url_file else self._webhook.url or ""
            address = self._webhook.address(url)
        except SourceError as error:
            return Response(None, f"url_file: {error}")
        except ValueError:
            # its text can name the host, which is part of the secret
            return Response(None, "url_file: holds no https:// address that may be used")
        self._secrets.add(*text.split())
        if self._url_file:
            self._secrets.add(urlsplit(address)._replace(scheme="", netloc="").geturl())
        try:
            response = self._http.post(
                address,
                data=sent.body,
                headers={**sent.headers, "user-agent": _USER_AGENT},
                timeout=self._webhook.timeout,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError, ValueError) as error:
            return Response(None, _description(error))
        retry_after = requested_wait(response.headers, time.time()) or 0.0
        # no words of an answer that repeats a secret get into an event, a log or a dead letter
        words = self._secrets.safe(response.content.decode(errors="replace"))
        return Response(response.status_code, words, retry_after)


def _description(error: BaseException) -> str:
    """What went wrong, without the address, which the messages of `requests` contain."""
    for one in causes(error):
        if isinstance(one, AuthoritiesError):
            return f"ca_file: {one}"
        if isinstance(one, OSError) and one.strerror:
            return f"{type(error).__name__}: {one.strerror}"
    return type(error).__name__
