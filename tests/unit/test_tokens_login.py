"""Tests of logins at Keystone and at a login provider: requests, and how responses are read."""

from __future__ import annotations

import base64
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec
import pytest
import requests

from tests.testbed.web_server import serving
from workers.config.groups import CloudSettings
from workers.config.logins import (
    ApplicationCredentialSource,
    ClientCredentialsSource,
    RefreshTokenSource,
)
from workers.store.database import open_store
from workers.tokens.errors import SourceError
from workers.tokens.federated import RefreshTokenLogin
from workers.tokens.keystone import Keystone
from workers.tokens.oidc import redeem, service_login
from workers.tokens.scoped import KeystoneAnswer, ScopedToken, scoped_token
from workers.tokens.secret import SecretFile
from workers.tokens.transport import Http, answer_in
from workers.tokens.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECRET = "first-refresh-token"
PLACE = "file /etc/refresh-token"
Json = dict[str, object]


@dataclass
class Server:
    """Gives the same response to all requests, and records them."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def answers(self, status: int, body: object, **headers: str) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def running(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            server.seen.append((self.path, dict(self.headers), body))
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

    with serving(Handler) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as made:
        yield made


def source(server: Server, tmp_path: Path) -> RefreshTokenSource:
    return RefreshTokenSource(
        refresh_token_file=tmp_path / "refresh-token",
        token_endpoint=f"{server.url}/token",
        scope="openid eduperson_entitlement:urn:x#y entitlements:urn:x#y",
    )


def refused(server: Server, tmp_path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        redeem(Http(None), source(server, tmp_path), SECRET, PLACE)
    error = caught.value
    assert SECRET not in f"{error!r}{error}{error.remedy}"
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return error


def test_refresh_is_sent_as_public_client_without_client_secret(
    server: Server, tmp_path: Path
) -> None:
    server.answers(
        200,
        {
            "access_token": "swordfish",
            "expires_in": 3600,
            "refresh_token": "next",
            "refresh_expires_in": 0,
        },
    )
    redeemed = redeem(Http(None), source(server, tmp_path), SECRET, PLACE)
    assert (redeemed.access.token, redeemed.refresh_token) == ("swordfish", "next")
    assert (redeemed.access.expires_in, redeemed.refresh_expires_in) == (3600, None)
    [(path, headers, body)] = server.seen
    assert path == "/token"
    assert "Authorization" not in headers
    assert parse_qs(body.decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["token-portal"],
        "scope": ["openid eduperson_entitlement:urn:x#y entitlements:urn:x#y"],
        "refresh_token": [SECRET],
    }
    assert "swordfish" not in repr(redeemed)
    assert "next" not in repr(redeemed)


def test_provider_without_rotation_keeps_the_token(server: Server, tmp_path: Path) -> None:
    server.answers(200, {"access_token": "access"})
    redeemed = redeem(Http(None), source(server, tmp_path), SECRET, PLACE)
    assert (redeemed.refresh_token, redeemed.access.expires_in) == (SECRET, 0)


@pytest.mark.parametrize("odd", ["two\nlines", "", None, 7, "x" * 70_000])
def test_a_rotated_token_is_stored_though_its_access_token_is_odd(
    server: Server, tmp_path: Path, odd: object
) -> None:
    """The provider takes the one before no more: without this one, a person would have to log in again."""
    server.answers(200, {"access_token": odd, "refresh_token": "next"})
    # On SQLite: what is stored when does not depend on the database.
    store = open_store(f"sqlite:///{tmp_path}/state.db", "state")
    vault = Vault(store, [bytes(32)], "one", "test")
    file = tmp_path / "refresh-token"
    file.touch(mode=0o600)
    file.write_text(SECRET)
    login = RefreshTokenLogin(
        source(server, tmp_path),
        SecretFile(file),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        Http(None),
        lambda: vault,
    )
    with pytest.raises(SourceError, match="no usable access_token"):
        login.fetch()
    with vault.lease(SECRET) as leased:
        assert leased.token() == "next"
    store.dispose()


ENDS = "one that ends in 1000 seconds"


def jwt(claims: Json) -> str:
    parts = (b"{}", msgspec.json.encode(claims), b"signature")
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@pytest.mark.parametrize(
    ("token", "given", "life"),
    [
        ("opaque", 50, 50),
        ("opaque", None, None),
        (ENDS, None, pytest.approx(1000, abs=60)),
        (ENDS, 50, 50),
        (jwt({"sub": "me"}), 0, None),
        (jwt({"exp": "soon"}), None, None),
        ("a.b.c", None, None),
        ("a.e30.c", None, None),
        ("ä.ä.ä", None, None),
    ],
)
def test_end_of_a_refresh_token_is_given_by_provider_or_jwt(
    server: Server, tmp_path: Path, token: str, given: int | None, life: object
) -> None:
    # counted from now, not from when the tests were collected
    token = jwt({"exp": time.time() + 1000}) if token == ENDS else token
    body = {"access_token": "access", "refresh_token": token}
    server.answers(200, body if given is None else body | {"refresh_expires_in": given})
    assert redeem(Http(None), source(server, tmp_path), SECRET, PLACE).refresh_expires_in == life


def service(server: Server) -> ClientCredentialsSource:
    return ClientCredentialsSource(
        token_endpoint=f"{server.url}/token",
        client_id="node:manager",
        client_secret_file=Path("unused"),
        entitlements=("urn:a", "urn:b"),
    )


def test_service_account_sends_its_secret_in_the_header(server: Server) -> None:
    server.answers(200, {"access_token": "access", "expires_in": 60})
    access = service_login(Http(None), service(server), "p@ss word", PLACE)
    assert (access.token, access.expires_in) == ("access", 60)
    [(_, headers, body)] = server.seen
    pair = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "node%3Amanager:p%40ss+word"
    assert parse_qs(body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": [
            (
                "openid email profile voperson_id eduperson_entitlement:urn:a entitlements:urn:a"
                " eduperson_entitlement:urn:b entitlements:urn:b"
            )
        ],
    }


@pytest.mark.parametrize("status", [401, 200])
def test_wrong_client_secret_is_permanent(server: Server, status: int) -> None:
    server.answers(status, {"error": "invalid_client", "error_description": "p@ss is wrong"})
    with pytest.raises(SourceError) as caught:
        service_login(Http(None), service(server), "p@ss", PLACE)
    error = caught.value
    assert (error.error, error.permanent) == ("invalid_client", True)
    assert PLACE in (error.remedy or "")
    assert "p@ss" not in f"{error}{error.remedy}"


@pytest.mark.parametrize("status", [400, 200])
def test_invalid_grant_is_permanent(server: Server, tmp_path: Path, status: int) -> None:
    """Also from a provider that sends its errors with status 200."""
    server.answers(status, {"error": "invalid_grant", "error_description": "Session not active"})
    error = refused(server, tmp_path)
    assert (error.error, error.permanent) == ("invalid_grant", True)
    assert "Session not active" in error.message
    assert PLACE in (error.remedy or "")


def test_description_that_quotes_the_token_is_dropped(server: Server, tmp_path: Path) -> None:
    server.answers(400, {"error": "invalid_grant", "error_description": f"{SECRET} is bad"})
    assert "is bad" not in refused(server, tmp_path).message


def test_wrong_client_is_permanent(server: Server, tmp_path: Path) -> None:
    server.answers(401, {"error": "invalid_client"})
    error = refused(server, tmp_path)
    assert (error.error, error.permanent) == ("invalid_client", True)
    assert "token-portal" in (error.remedy or "")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"),
        (502, b"<html>"),
        (503, b""),
        (429, b""),
        (400, b'{"error": "temporarily_unavailable"}'),
        (400, b'{"error": "<script>"}'),
        (404, b"<html>no such page"),
        (200, b"<html>a login page"),
        (200, b'{"access_token": 1}'),
        (200, b"[]"),
        (200, b'{"error": "Something failed"}'),
    ],
)
def test_transient_error_needs_no_operator(
    server: Server, tmp_path: Path, status: int, body: bytes
) -> None:
    """What no token endpoint says may be the answer of another place: the message names the setting."""
    server.answers(status, body)
    error = refused(server, tmp_path)
    assert (error.error, error.permanent, error.remedy) == ("provider_away", False, None)
    assert "<" not in error.message
    says_what_it_lacks = status in {429, 500, 502, 503} or b"temporarily" in body
    assert ("check token_endpoint" in error.message) is not says_what_it_lacks


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [("7", 7, 7), ("Fri, 31 Dec 2100 23:59:59 GMT", 3600, 3600), ("soon", 0, 0), ("-1", 0, 0)],
)
def test_retry_after_is_read_in_both_forms(
    server: Server, tmp_path: Path, value: str, least: float, most: float
) -> None:
    server.answers(429, b"", Retry_After=value)
    assert least <= refused(server, tmp_path).retry_after <= most


def test_unreachable_host_is_named_without_the_request(server: Server, tmp_path: Path) -> None:
    server.url = "http://127.0.0.1:9"
    error = refused(server, tmp_path)
    assert error.message == "127.0.0.1:9 does not respond (ConnectionError)"


def test_redirect_is_not_followed(server: Server, tmp_path: Path) -> None:
    with running(Server()) as elsewhere:
        server.answers(307, b"", Location=f"{elsewhere.url}/token")
        error = refused(server, tmp_path)
        assert error.error == "misconfigured"
        assert not elsewhere.seen


def test_netrc_does_not_replace_the_bearer_token(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    Http(None).post(server.url, authorization="Bearer mine")
    Http(None).post(server.url, form={})
    assert server.seen[0][1]["Authorization"] == "Bearer mine"
    assert "Authorization" not in server.seen[1][1]


def keystone(server: Server) -> Keystone:
    unused = ApplicationCredentialSource(id="unused", secret_file=Path("unused"))
    cloud = CloudSettings(auth_url=f"{server.url}/v3", source=unused, project_id="p")
    return Keystone(cloud, Http(None))


IDENTITY: Json = {"methods": ["password"]}


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_password_is_permanent(server: Server, status: int) -> None:
    server.answers(status, b"{}")
    with pytest.raises(SourceError) as caught:
        keystone(server).login(IDENTITY, "the remedy")
    error = caught.value
    assert (error.error, error.permanent, error.remedy) == ("unauthorized", True, "the remedy")


@pytest.mark.parametrize("status", [401, 403])
def test_refused_federated_login_is_transient_but_reported(server: Server, status: int) -> None:
    server.answers(status, b"{}")
    with pytest.raises(SourceError) as caught:
        keystone(server).federated_login("egi.eu", "openid", "access")
    error = caught.value
    assert (error.error, error.permanent) == ("unauthorized", False)
    assert error.remedy is not None
    [(path, headers, _)] = server.seen
    assert path == "/v3/OS-FEDERATION/identity_providers/egi.eu/protocols/openid/auth"
    assert headers["Authorization"] == "Bearer access"


def test_unknown_identity_provider_is_misconfigured(server: Server) -> None:
    server.answers(404, b"{}")
    with pytest.raises(SourceError) as caught:
        keystone(server).federated_login("egi.eu", "oidc", "access")
    assert caught.value.error == "misconfigured"
    assert "protocol" in (caught.value.remedy or "")


GOOD: Json = {
    "issued_at": "2026-07-01T10:00:00.000000Z",
    "expires_at": "2026-07-01T11:00:00.000000Z",
    "user": {"id": "u", "name": "keeper", "domain": {"id": "default", "name": "Default"}},
    "project": {"id": "p", "name": "nodes", "domain": {"id": "default", "name": "Default"}},
    "catalog": [{"type": "compute", "endpoints": []}],
}


def answer(**token: object) -> ScopedToken:
    """Keystone's answer with this token, as our client reads it."""
    response = requests.Response()
    response.url, response._content = "https://keystone/v3", msgspec.json.encode({"token": token})
    return scoped_token("id", answer_in(response, KeystoneAnswer))


def test_life_of_a_token_depends_only_on_keystones_clock() -> None:
    token = answer(**GOOD)
    assert token.life == 3600
    assert "id=" not in repr(token)
    assert "compute" not in repr(token)


@pytest.mark.parametrize(
    "change",
    [
        {"catalog": []},
        {"catalog": None},
        {"expires_at": GOOD["issued_at"]},
        {"issued_at": 5},
        {"user": "keeper"},
        {"project": {}},
        {"catalog": [{"type": "compute", "endpoints": ["https://nova"]}]},
        {"catalog": [{"type": ["compute"], "endpoints": []}]},
        {"roles": {"member": True}},
    ],
)
def test_token_without_catalog_or_life_is_refused(change: Json) -> None:
    with pytest.raises(SourceError) as caught:
        answer(**GOOD | change)
    assert (caught.value.error, caught.value.permanent) == ("provider_away", False)


def test_token_keeps_only_what_is_read_of_it() -> None:
    """Else its answer could be of any size and depth on its way to the workers."""
    deep: object = []
    for _ in range(100):
        deep = [deep]
    token = answer(**GOOD, extra=deep, audit_ids=["x"])
    assert set(token.body["token"]) == {*GOOD, "roles", "methods"}
