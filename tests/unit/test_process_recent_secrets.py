"""No words of a service bring a secret back that it was sent, or gave, some time ago."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.testbed.receiver import Got, Receiver, Reply
from tests.testbed.stores import STORES
from tests.unit.test_tokens_foreign import GOOD
from workers.config.groups import CloudSettings
from workers.config.logins import ClientCredentialsSource, RefreshTokenSource
from workers.config.webhooks import Webhook
from workers.notify.http import WebhookClient
from workers.notify.webhook_request import WebhookRequest
from workers.process.foreign import bounded_session, one_line
from workers.process.recent_secrets import RecentSecrets
from workers.store.database import open_store
from workers.tokens import revocations
from workers.tokens.errors import SourceError
from workers.tokens.revocations import Revocations
from workers.tokens.sources import make_source
from workers.tokens.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

FILE, NEXT, ACCESS = "refresh-token-0-of-the-file", "refresh-token-1-rotated", "access-token-of-R1"
UNSCOPED, SCOPED = "keystone-unscoped-token", "keystone-scoped-token"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJsYW1wIn0.c2lnbmF0dXJl-_1"
FERNET = "gAAAAABnX0k_9vJ0o8Wq3sYx-1R2mU7pZtKcQ4e6bLhD5fGaNiVwEo=="


def login(provider: Receiver, tmp_path: Path, said: list[str]) -> tuple[str, str]:
    """Log in once, then be refused in the words of `said`; the error, and how often it was asked."""

    def answer(got: Got) -> Reply:
        if not got.path.startswith("/v3"):
            if said[0]:
                words = {"error": "invalid_grant", "error_description": f"wrong: {said[0]}"}
                return Reply(400, json.dumps(words))
            tokens = {"access_token": ACCESS, "refresh_token": NEXT, "expires_in": 1}
            return Reply(body=json.dumps(tokens))
        token = SCOPED if got.path.endswith("/auth/tokens") else UNSCOPED
        return Reply(201, json.dumps({"token": GOOD}), {"X-Subject-Token": token})

    provider.answer = answer
    secret = tmp_path / "secret"
    secret.write_text(FILE)
    secret.chmod(0o600)
    store = open_store(STORES.url(tmp_path / "state.db"), "state")
    endpoint = f"{provider.url}/token"
    words = []
    for source in (
        RefreshTokenSource(refresh_token_file=secret, token_endpoint=endpoint),
        ClientCredentialsSource(client_id="c", client_secret_file=secret, token_endpoint=endpoint),
    ):
        cloud = CloudSettings(auth_url=f"{provider.url}/v3", project_id="p", source=source)
        made = make_source(
            cloud, lambda: Vault(store, [b"k" * 32], "one", "me"), Revocations(store, "one")
        )
        refusal, said[0] = said[0], ""
        assert made.fetch().id == SCOPED
        said[0] = refusal
        with pytest.raises(SourceError) as caught:
            made.fetch()
        words.append(f"{caught.value} {caught.value.remedy}")
    store.dispose()
    return words[0], words[1]


@pytest.mark.slow
@pytest.mark.parametrize("secret", [FILE, NEXT, ACCESS, UNSCOPED, SCOPED, JWT, FERNET])
def test_no_refusal_repeats_a_secret_of_the_last_login(
    tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was just sent, its predecessor, what was obtained with it, and any token's shape."""
    monkeypatch.setattr(revocations, "_ROUNDS", 10)
    with Receiver() as provider:
        refreshed, service = login(provider, tmp_path, [secret])
    assert "invalid_grant" in refreshed
    assert "invalid_grant" in service
    assert secret[:8] not in refreshed
    assert secret == NEXT or secret[:8] not in service  # the client never had the rotated one


def test_a_cloud_does_not_bring_back_the_token_before_the_present_one() -> None:
    with Receiver() as cloud, bounded_session(None, 5.0) as session:
        for token in (SCOPED, "another-token-of-keystone"):
            session.post(cloud.url, headers={"X-Auth-Token": token}, timeout=5)
        cloud.answer = lambda _: Reply(403, json.dumps({"forbidden": {"message": SCOPED}}))
        for headers in ({"X-Auth-Token": "another-token-of-keystone"}, {}):
            assert session.post(cloud.url, headers=headers, timeout=5).content == b""


def test_a_webhook_does_not_bring_back_its_secret_of_before(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with Receiver() as receiver:
        hook = Webhook(name="a", url=receiver.url, events=("failed",), secret_file=path)
        client = WebhookClient(hook)
        before, now = (f"whsec_{one * 40}" for one in ("b3R0", "bmV3"))
        for secret in (before, now):
            path.write_text(secret)
            path.chmod(0o600)
            receiver.answer = lambda _: Reply(400, f"{before} and {JWT}")
            answer = client.send(WebhookRequest({}, b"{}"), "id")
            assert answer.status == 400
            assert answer.text == ""
        client.close()


@pytest.mark.parametrize("token", [JWT, FERNET, JWT.rpartition(".")[0] + "."])
def test_foreign_words_are_kept_without_what_looks_like_a_token(token: str) -> None:
    """Whoever's it is."""
    assert one_line(f'bad token "{token}" of user u') == 'bad token "(a token)" of user u'
    words = (
        "no valid host for eyJ and gAAAA, flavor m1.small.3, 9f1c2d3e-0000-4000-8000-000000000001"
    )
    assert one_line(words) == words


def test_only_the_last_secrets_are_kept() -> None:
    recent = RecentSecrets(2)
    recent.add("the-first-secret", None, "")
    recent.add("the-second-secret")
    recent.add("the-first-secret")
    assert recent.safe("the-first-secret") == ""
    recent.add("3rd-one-of-them")
    assert recent.safe("oh, the-first") == "oh, the-first"
    assert recent.safe("oh, 3rd-one-of") == ""
    assert RecentSecrets(2).safe("any words") == "any words"
