"""What a discovery document names gets no secret in plaintext, and none on another host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import requests

from tests.testbed.receiver import Got, Receiver, Reply
from workers.config.groups import CloudSettings
from workers.config.logins import RefreshTokenSource
from workers.tokens.device import device_endpoint, request_device_code
from workers.tokens.discovery import endpoint_of
from workers.tokens.errors import SourceError
from workers.tokens.federated import RefreshTokenLogin
from workers.tokens.keystone import Keystone, _plaintext
from workers.tokens.revocations import RevocableSecret
from workers.tokens.secret import SecretCommand
from workers.tokens.sources import make_source
from workers.tokens.transport import Http

if TYPE_CHECKING:
    from collections.abc import Callable


SECRET = "the-newest-refresh-token"
TOKEN_ENDPOINT = "https://aai.example/realms/egi/protocol/openid-connect/token"
OTHERS = [
    "https://evil.example/take",
    "http://evil.example/take",
    "https://aai.example.evil.example/",
    "https://aai.example@evil.example/",
    "https://evil.example\\@aai.example/",
    "take",
    "https://[aai.example/",
]
HERE = ["http://aai.example/take", "HTTP://AAI.example:443/take"]


class Provider(Http):
    """A provider that names these endpoints; notes each secret that is sent."""

    def __init__(self, endpoint: str, *, insecure: bool = False) -> None:
        super().__init__(None, insecure=insecure)
        self._endpoint = endpoint

    def get(self, url: str) -> requests.Response:
        document = {"token_endpoint": TOKEN_ENDPOINT, "issuer": self._endpoint}
        names = ("revocation_endpoint", "device_authorization_endpoint")
        response = requests.Response()
        response.status_code, response.url = 200, url
        response._content = json.dumps(document | dict.fromkeys(names, self._endpoint)).encode()
        return response


class Stored:
    """A vault that holds one token."""

    def revoke(self, _file_token: str, at_provider: Callable[[str], None]) -> None:
        at_provider(SECRET)


class Remembered:
    """Revocations that are stored."""

    def add(self, secret: str) -> None:
        assert secret == SECRET


def source() -> RefreshTokenSource:
    return RefreshTokenSource(token_endpoint=TOKEN_ENDPOINT, refresh_token_command=("true",))


def left_after_revoking(http: Http) -> str:
    cloud = CloudSettings(auth_url="https://k/v3", project_id="p", source=source())
    login = RefreshTokenLogin(
        source(),
        RevocableSecret(
            SecretCommand(("echo", SECRET)),
            Remembered(),  # type: ignore[arg-type]
            http.secrets,
        ),
        Keystone(cloud, http),
        http,
        Stored,  # type: ignore[arg-type] # it uses `revoke` alone
    )
    (left,) = login.revoke([])
    return left


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of all requests; none leaves this process."""
    addresses: list[str] = []

    def send(_: requests.Session, request: requests.PreparedRequest, **__: object) -> None:
        addresses.append(request.url or "")
        raise requests.ConnectionError

    monkeypatch.setattr(requests.Session, "send", send)
    return addresses


@pytest.mark.parametrize("endpoint", [*OTHERS, *HERE])
def test_a_refresh_token_goes_neither_to_another_host_nor_unencrypted(
    endpoint: str, sent: list[str]
) -> None:
    left = left_after_revoking(Provider(endpoint))
    assert "end this login on the provider's page of sessions" in left
    assert SECRET not in left
    assert sent == []


@pytest.mark.parametrize("endpoint", OTHERS)
def test_an_endpoint_on_another_host_is_named_in_an_error(endpoint: str, sent: list[str]) -> None:
    finds: tuple[Callable[[Http], object], ...] = (
        lambda http: device_endpoint(http, TOKEN_ENDPOINT),
        lambda http: endpoint_of(http, TOKEN_ENDPOINT, "revocation_endpoint"),
    )
    for find in finds:
        with pytest.raises(SourceError, match=r"another host than aai\.example") as caught:
            find(Provider(endpoint, insecure=True))
        assert caught.value.remedy
    assert sent == []


@pytest.mark.parametrize("endpoint", HERE)
def test_a_plaintext_endpoint_is_used_only_if_the_configuration_says_so(
    endpoint: str, sent: list[str]
) -> None:
    careful = Provider(endpoint)
    found = device_endpoint(careful, TOKEN_ENDPOINT)
    assert found is not None
    with pytest.raises(SourceError, match=r"unencrypted to 'aai\.example'") as caught:
        request_device_code(careful, source(), found)
    assert "insecure = true" in (caught.value.remedy or "")
    assert sent == []
    with pytest.raises(SourceError, match="does not respond"):
        request_device_code(Provider(endpoint, insecure=True), source(), found)
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://evil.example\\@localhost/v2.1", True),
        ("http://nova.example/v2.1", True),
        ("nova.example/v2.1", True),
        ("http://localhost/v2.1", False),
        ("https://nova.example/v2.1", False),
    ],
)
def test_an_endpoint_of_the_catalog_is_on_the_host_that_the_http_library_reads(
    url: str, *, plain: bool
) -> None:
    assert _plaintext(url) is plain


@pytest.mark.parametrize("url", ["http://evil.example\\@localhost/token", "http://h/token"])
def test_whatever_names_an_address_no_request_is_sent_unencrypted(
    url: str, sent: list[str]
) -> None:
    """The address counts as the HTTP library reads it."""
    calls: tuple[Callable[[], object], ...] = (
        lambda: Http(None).post(url, form={"refresh_token": SECRET}),
        lambda: Http(None).delete(url, {"X-Auth-Token": SECRET}),
        lambda: Http(None).get(url),
    )
    for call in calls:
        with pytest.raises(SourceError, match="unencrypted"):
            call()
    assert sent == []


def test_the_cloud_says_whether_plaintext_is_allowed(sent: list[str]) -> None:
    """Both to its Keystone and to its login provider."""
    plain = RefreshTokenSource(token_endpoint="http://p/token", refresh_token_command=("true",))
    cloud = CloudSettings(auth_url="http://k/v3", project_id="p", source=plain, insecure=True)
    made = make_source(cloud, lambda: None, None)  # type: ignore[arg-type,return-value]
    assert isinstance(made, RefreshTokenLogin)
    calls: tuple[Callable[[], object], ...] = (
        lambda: made._keystone.revoke(SECRET),
        lambda: made._http.post("http://p/token", form={}),
    )
    for call in calls:
        with pytest.raises(SourceError, match="does not respond"):
            call()
    assert sent == ["http://k/v3/auth/tokens", "http://p/token"]


def test_an_endpoint_of_the_provider_is_used() -> None:
    def answer(got: Got) -> Reply:
        document = dict.fromkeys(("token_endpoint", "revocation_endpoint"), f"{provider.url}/token")
        return Reply(body=json.dumps(document) if "well-known" in got.path else "{}")

    with Receiver(answer) as provider:
        endpoint = f"{provider.url}/token"
        assert endpoint_of(Http(None), endpoint, "revocation_endpoint") == endpoint
