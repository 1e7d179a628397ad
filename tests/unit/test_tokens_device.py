"""Tests of the login by device code: discovery, polling and timeout."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import requests

from ops.site import tokens_login
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.effects import Answer
from tests.testbed.simcloud.faults import Fault
from workers.config.logins import RefreshTokenSource
from workers.tokens.device import DeviceCode, device_endpoint, poll_for_tokens, request_device_code
from workers.tokens.errors import SourceError, away
from workers.tokens.oidc import Redeemed, TokenAnswer
from workers.tokens.transport import Http

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.testbed.simcloud.handle import SimCloud
    from workers.config.groups import CloudSettings

GRANTED: Mapping[str, object] = {"access_token": "a", "expires_in": 60, "refresh_token": "r"}


class Scripted(Http):
    """Returns one response after another: an object for 200, a string for a refusal, or an error."""

    def __init__(self, *answers: Mapping[str, object] | str | SourceError) -> None:
        super().__init__(None)
        self._answers = list(answers)

    def post(self, url: str, **_: object) -> requests.Response:
        answer = self._answers.pop(0)
        if isinstance(answer, SourceError):
            raise answer
        response = requests.Response()
        response.url = url
        response.status_code = 400 if isinstance(answer, str) else 200
        body = {"error": answer} if isinstance(answer, str) else answer
        response._content = json.dumps(body).encode()
        return response


class Clock:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def source(token_endpoint: str, **more: object) -> RefreshTokenSource:
    return RefreshTokenSource(
        token_endpoint=token_endpoint,
        refresh_token_command=("true",),
        **more,  # type: ignore[arg-type]
    )


def code(**more: object) -> DeviceCode:
    given = {"code": "secret-code", "user_code": "AB-CD", "url": "u", "full_url": None}
    return DeviceCode(**{**given, "expires_in": 600.0, "interval": 5.0, **more})  # type: ignore[arg-type]


def waited(clock: Clock, http: Http, **more: object) -> str:
    tokens = poll_for_tokens(
        http, source("http://x"), code(**more), sleep=clock.sleep, clock=lambda: clock.now
    )
    return tokens.refresh_token


def test_polling_follows_interval_and_slow_down() -> None:
    clock = Clock()
    pending = "authorization_pending"
    assert waited(clock, Scripted(pending, "slow_down", pending, GRANTED)) == "r"
    assert clock.slept == [5, 5, 10, 10]


def test_a_provider_may_send_its_errors_with_status_200() -> None:
    """They are not an answer without a refresh token, and a refused client has its remedy."""
    clock = Clock()
    errors = [{"error": "authorization_pending"}, {"error": "slow_down"}]
    assert waited(clock, Scripted(*errors, GRANTED)) == "r"
    assert clock.slept == [5, 5, 10]
    with pytest.raises(SourceError, match="unauthorized_client") as caught:
        request_device_code(Scripted({"error": "unauthorized_client"}), source("http://x"), "u")
    assert "--paste" in (caught.value.remedy or "")


def test_polling_backs_off_while_the_provider_is_unreachable() -> None:
    clock = Clock()
    http = Scripted(away("gone"), away("busy", retry_after=90), "server_error", GRANTED)
    assert waited(clock, http) == "r"
    assert clock.slept == [5, 10, 90, 90], "no request sooner than Retry-After"


def test_polling_ends_when_the_code_expires() -> None:
    clock = Clock()
    with pytest.raises(SourceError, match="expired") as caught:
        waited(clock, Scripted(*["authorization_pending"] * 4), expires_in=20.0)
    assert (caught.value.error, clock.now) == ("expired_token", 20)


def test_no_wait_that_a_provider_asks_for_outlasts_the_code() -> None:
    clock = Clock()
    with pytest.raises(SourceError, match="expired"):
        waited(clock, Scripted(away("busy", retry_after=3600)), expires_in=20.0)
    assert clock.now == 20


@pytest.mark.parametrize("refusal", ["access_denied", "expired_token", "invalid_grant"])
def test_refusal_ends_polling_with_a_remedy_that_does_not_quote_the_code(refusal: str) -> None:
    with pytest.raises(SourceError, match=refusal) as caught:
        waited(Clock(), Scripted(refusal))
    assert caught.value.remedy
    assert "secret-code" not in f"{caught.value!r}{caught.value.remedy}{code()!r}"


def test_response_without_refresh_token_is_an_error() -> None:
    with pytest.raises(SourceError, match="offline_access"):
        waited(Clock(), Scripted({"access_token": "a"}))


def test_endpoint_is_found_in_the_discovery_document_above_the_token_endpoint(
    cloud: SimCloud,
) -> None:
    http = Http(None)
    found = device_endpoint(http, cloud.token_endpoint)
    assert found == f"{cloud.issuer}/protocol/openid-connect/auth/device"
    # a document with another endpoint belongs to another provider
    assert device_endpoint(http, f"{cloud.token_endpoint}/other") is None
    assert device_endpoint(http, f"{cloud.url}/elsewhere/token") is None
    cloud.set(device_flow=False)
    assert device_endpoint(http, cloud.token_endpoint) is None


def test_unreachable_provider_differs_from_one_without_device_codes(
    cloud: SimCloud,
) -> None:
    cloud.inject(Fault(kind="oidc_discovery", effect=Answer(status=503)))
    with pytest.raises(SourceError) as caught:
        device_endpoint(Http(None), cloud.token_endpoint)
    assert caught.value.error == "provider_away"


def test_login_requests_only_the_entitlements_of_the_cloud_and_offline_access(
    cloud: SimCloud,
) -> None:
    narrow = source(cloud.token_endpoint, entitlements=(credentials.ENTITLEMENT,))
    http = Http(None)
    endpoint = device_endpoint(http, cloud.token_endpoint)
    assert endpoint is not None
    given = request_device_code(http, narrow, endpoint)
    [waiting] = cloud.device_logins()
    words = waiting.scope.split()
    assert f"entitlements:{credentials.ENTITLEMENT}" in words
    assert "entitlements" not in words
    assert words.count("offline_access") == 1
    assert (given.interval, given.expires_in) == (5.0, 600.0)
    assert given.full_url is not None
    assert given.user_code in given.full_url


def test_refused_client_is_reported(cloud: SimCloud) -> None:
    http = Http(None)
    endpoint = device_endpoint(http, cloud.token_endpoint)
    assert endpoint is not None
    with pytest.raises(SourceError, match=r"invalid_client: .*credentials") as caught:
        request_device_code(http, source(cloud.token_endpoint, client_id="nobody"), endpoint)
    assert "client_id" in (caught.value.remedy or "")


def test_the_address_to_open_is_printed_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a line end in it, a browser would open its first half."""
    url = f"https://login.example.org/{'device/' * 20}?user_code=AB-CD"
    code = DeviceCode("secret-code", "AB-CD", "https://login.example.org", url, 60.0, 1.0)
    found = Redeemed(TokenAnswer("a"), "r", None)
    for name, answer in (
        ("device_endpoint", "https://login.example.org/device"),
        ("request_device_code", code),
        ("poll_for_tokens", found),
    ):
        monkeypatch.setattr(tokens_login, name, lambda *_, answer=answer: answer)
    monkeypatch.setenv("COLUMNS", "80")
    settings = SimpleNamespace(source=source("https://login.example.org/token"), insecure=False)
    assert tokens_login._log_in(cast("CloudSettings", settings)) == "r"
    assert f"  {url}\n" in capsys.readouterr().out
