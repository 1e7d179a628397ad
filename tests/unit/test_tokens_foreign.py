"""Whatever Keystone or a login provider answers, it is a usable token or a named error without secrets."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import access

from workers.config.groups import CloudSettings
from workers.config.logins import ClientCredentialsSource, RefreshTokenSource
from workers.tokens.device import request_device_code
from workers.tokens.errors import SourceError
from workers.tokens.keystone import Keystone
from workers.tokens.oidc import positive, redeem, refusal, service_login
from workers.tokens.rpc import TokenGrant, encode, parse_answer
from workers.tokens.transport import Http

if TYPE_CHECKING:
    from collections.abc import Callable

SENT = "the-secret-that-was-sent"
URL = "https://login.example.org/token"
CENTURY = 100 * 365 * 86_400
IDENTITY = {"methods": ["password"], "password": {"user": {"name": "u", "password": SENT}}}
OWNER = {"id": "i", "name": "n", "domain": {"id": "default", "name": "Default"}}
ENDPOINT = {"interface": "public", "region": "R", "region_id": "R", "url": "https://nova/v2.1"}
GOOD: dict[str, Any] = {
    "issued_at": "2026-07-01T10:00:00.000000Z",
    "expires_at": "2026-07-01T11:00:00.000000Z",
    "user": OWNER,
    "project": OWNER,
    "roles": [{"id": "r", "name": "member"}],
    "catalog": [{"type": "compute", "name": "nova", "endpoints": [ENDPOINT]}],
}
TOKENS = {"access_token": "access", "refresh_token": "next", "expires_in": 3600}
CODE = {"device_code": "d", "user_code": "u", "verification_uri": "https://x", "expires_in": 600}
NAMES = [*GOOD, *TOKENS, *CODE, "token", "error", "error_description", "interval", "endpoints"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=10,
)


class Answers(Http):
    """Gives the same answer to each request."""

    def __init__(self, status: int, body: bytes, **headers: str) -> None:
        super().__init__(None)
        self.response = requests.Response()
        self.response.status_code = status
        self.response.url = URL
        self.response._content = body
        self.response.headers.update({k.replace("_", "-"): v for k, v in headers.items()})

    def _send(self, *_: object, **__: object) -> requests.Response:
        return self.response


def keystone(http: Http) -> Keystone:
    source = ClientCredentialsSource(
        client_id="c", token_endpoint=URL, client_secret_command=("unused",)
    )
    return Keystone(CloudSettings(auth_url="https://k/v3", project_id="p", source=source), http)


def source_of(tmp: str = "unused") -> RefreshTokenSource:
    return RefreshTokenSource(token_endpoint=URL, refresh_token_command=(tmp,))


def calls(http: Http) -> list[Callable[[], object]]:
    """Everything that reads an answer of Keystone or of a provider."""
    service = ClientCredentialsSource(
        client_id="c", token_endpoint=URL, client_secret_command=("unused",)
    )
    return [
        lambda: keystone(http).login(IDENTITY, "remedy"),
        lambda: keystone(http).federated_login("egi.eu", "openid", SENT),
        lambda: redeem(http, source_of(), SENT, "file x"),
        lambda: service_login(http, service, SENT, "file x"),
        lambda: request_device_code(http, source_of(), URL),
    ]


def named(call: Callable[[], object]) -> object:
    """The value of a call, or None after a SourceError that says no secret and is one printable line."""
    try:
        return call()
    except SourceError as error:
        said = f"{error} {error.remedy}"
        assert SENT not in said
        assert said.isprintable()
        return None


@given(
    st.sampled_from([200, 201, 302, 400, 401, 404, 408]),
    st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    st.text(st.characters(max_codepoint=255), max_size=30),
)
def test_any_answer_is_a_token_or_a_named_error(status: int, body: bytes, subject: str) -> None:
    for call in calls(Answers(status, body, X_Subject_Token=subject)):
        named(call)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD, JSON)))
def test_any_scoped_token_serves_keystoneauth_or_is_a_named_error(odd: dict[str, object]) -> None:
    body = json.dumps({"token": GOOD | odd}).encode()
    token = named(lambda: keystone(Answers(201, body, X_Subject_Token="t")).login(IDENTITY, "r"))
    if token is None:
        return
    grant = parse_answer(encode(TokenGrant(token.id, dict(token.body), 1.0)))  # type: ignore[attr-defined]
    assert isinstance(grant, TokenGrant)
    found = access.create(auth_token=grant.token, body=grant.body)
    assert found.username is not None
    assert found.project_id is not None
    assert found.expires is not None
    found.service_catalog.get_endpoints_data(service_type="compute", interface="public")


PLAIN = [
    "http://nova.example.org/v2.1",
    "HTTP://10.0.0.1:8774",
    "http://[2001:db8::1]/",
    "nova/v2.1",
    "ftp://x",
    "",
]


def catalog_of(service: str, *urls: str, insecure: bool = False) -> list[str]:
    """The URLs of a service that are left in the catalog of a token."""
    endpoints = [ENDPOINT | {"url": url} for url in urls]
    catalog = [*GOOD["catalog"]] if service != "compute" else []
    catalog.append({"type": service, "name": "x", "endpoints": endpoints})
    body = json.dumps({"token": GOOD | {"catalog": catalog}}).encode()
    http = Answers(201, body, X_Subject_Token="t")
    source = ClientCredentialsSource(
        client_id="c", token_endpoint=URL, client_secret_command=("unused",)
    )
    cloud = CloudSettings(auth_url="https://k/v3", project_id="p", source=source, insecure=insecure)
    answer = json.loads(json.dumps(Keystone(cloud, http).login(IDENTITY, "r").body))
    found = next(one for one in answer["token"]["catalog"] if one["type"] == service)
    return [one["url"] for one in found["endpoints"]]


@pytest.mark.parametrize("plain", PLAIN)
def test_no_endpoint_of_a_catalog_gets_the_token_unencrypted(plain: str) -> None:
    """Whatever the catalog names; on this host, and with `insecure = true`, plaintext is allowed."""
    good = "https://nova/v2.1"
    assert catalog_of("compute", plain, good) == [good]
    assert catalog_of("image", plain) == []
    with pytest.raises(SourceError, match="not https") as refused:
        catalog_of("compute", plain)
    assert refused.value.remedy is not None
    assert "insecure = true" in refused.value.remedy
    assert catalog_of("compute", "http://127.0.0.1:8774/", "HTTPS://nova/") == [
        "http://127.0.0.1:8774/",
        "HTTPS://nova/",
    ]
    assert catalog_of("compute", plain, insecure=True) == [plain]


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*TOKENS, "refresh_expires_in"], JSON)))
def test_any_tokens_can_be_sent_and_stored_or_are_a_named_error(odd: dict[str, object]) -> None:
    http = Answers(200, json.dumps(TOKENS | odd).encode())
    redeemed = named(lambda: redeem(http, source_of(), SENT, "file x"))
    if redeemed is None:
        return
    assert redeemed.refresh_token.encode()  # type: ignore[attr-defined]
    access = named(lambda: redeemed.access)  # type: ignore[attr-defined]
    if access is not None:
        assert access.token.isascii()  # type: ignore[attr-defined]
        assert access.token.isprintable()  # type: ignore[attr-defined]
        assert 0 <= access.expires_in <= CENTURY  # type: ignore[attr-defined]
    life = redeemed.refresh_expires_in  # type: ignore[attr-defined]
    assert life is None or 0 < life <= CENTURY


@pytest.mark.parametrize("number", [10**400, 2**64, 1e308, float("inf"), CENTURY + 1])
def test_a_life_without_end_is_a_century(number: float) -> None:
    assert positive(number) == CENTURY


@pytest.mark.parametrize("value", [float("nan"), -1, 0, True, "5", None, [], -(10**400)])
def test_what_is_no_positive_number_is_no_life(value: object) -> None:
    assert positive(value) is None


@pytest.mark.parametrize("end", ["1e400", "9" * 400, '"soon"', "[]", "-5", "true"])
def test_a_refresh_token_with_an_odd_end_is_a_token_without_one(end: str) -> None:
    claims = base64.urlsafe_b64encode(f'{{"exp": {end}}}'.encode()).decode().rstrip("=")
    http = Answers(200, json.dumps(TOKENS | {"refresh_token": f"a.{claims}.c"}).encode())
    redeemed = redeem(http, source_of(), SENT, "file x")
    assert redeemed.refresh_expires_in in {None, CENTURY}


@given(JSON, st.sampled_from([400, 401, 403, 408]))
def test_any_refusal_is_a_named_error(body: object, status: int) -> None:
    http = Answers(status, json.dumps(body).encode())
    error = refusal(http.response, "client", http.secrets, {})
    assert error is not None
    assert error.error
    assert str(error).isprintable()


def test_an_answer_of_any_depth_is_a_named_error() -> None:
    for start in (b"[", b'{"token":', b'{"error":', b'{"token": {"catalog": [{"endpoints":'):
        http = Answers(200, start + b"[" * 200_000, X_Subject_Token="t")
        for call in calls(http):
            assert named(call) is None


@pytest.mark.parametrize("subject", ["", "a b", "a\x00", "\xff", "x" * 70_000])
def test_a_subject_token_that_no_header_can_carry_is_refused(subject: str) -> None:
    body = json.dumps({"token": GOOD}).encode()
    with pytest.raises(SourceError, match="X-Subject-Token"):
        keystone(Answers(201, body, X_Subject_Token=subject)).login(IDENTITY, "r")
