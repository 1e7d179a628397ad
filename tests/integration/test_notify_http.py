"""HTTP requests to webhooks: TLS verified, no proxy, signed if a secret is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testbed.certificates import certificate, tls_with
from tests.testbed.receiver import Receiver, Reply
from workers.config.webhooks import Webhook
from workers.notify.http import WebhookClient
from workers.notify.webhook_request import WebhookRequest

if TYPE_CHECKING:
    from pathlib import Path

SENT = WebhookRequest({"content-type": "text/plain"}, b"body")


def test_a_self_signed_certificate_is_rejected_unless_ca_file_names_it(
    run_dir: Path,
) -> None:
    pem = certificate(run_dir)
    with Receiver(context=tls_with(pem)) as receiver:
        strict = WebhookClient(Webhook(name="one", url=receiver.url, events=("failed",)))
        response = strict.send(SENT, "id")
        strict.close()
        assert response.status is None
        assert receiver.got == []
        named = WebhookClient(
            Webhook(name="one", url=receiver.url, events=("failed",), ca_file=pem)
        )
        assert named.send(SENT, "id").status == 200
        named.close()


def test_proxy_and_netrc_of_the_environment_are_not_used(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = run_dir / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Receiver() as receiver:
        client = WebhookClient(Webhook(name="one", url=receiver.url, events=("failed",)))
        assert client.send(SENT, "id").status == 200
        client.close()
        assert "authorization" not in receiver.got[0].headers


@pytest.mark.parametrize("content", [None, "hunter2", "world-readable"])
def test_without_a_usable_secret_nothing_is_sent_and_no_secret_is_shown(
    run_dir: Path, content: str | None
) -> None:
    secret = run_dir / "secret"
    if content is not None:
        secret.write_text(content)
        secret.chmod(0o644 if content == "world-readable" else 0o600)
    with Receiver() as receiver:
        hook = Webhook(name="one", url=receiver.url, events=("failed",), secret_file=secret)
        client = WebhookClient(hook)
        response = client.send(SENT, "id")
        client.close()
        assert response.status is None
        assert "secret_file" in response.text
        assert "hunter2" not in response.text
        assert receiver.got == []


def test_a_long_response_is_read_in_part_and_errors_do_not_contain_the_address() -> None:
    with Receiver(lambda _: Reply(500, "x" * 10**6)) as receiver:
        client = WebhookClient(Webhook(name="one", url=receiver.url, events=("failed",)))
        response = client.send(SENT, "id")
        client.close()
        assert (response.status, len(response.text)) == (500, 4096)
    gone = WebhookClient(Webhook(name="one", url=f"{receiver.url}/token", events=("failed",)))
    response = gone.send(SENT, "id")
    gone.close()
    assert response.status is None
    assert "Connection refused" in response.text
    assert "token" not in response.text
