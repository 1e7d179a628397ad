"""A cloud's authority is that cloud's; the login provider has the system's store, or its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from keystoneauth1.noauth import NoAuth

from tests.testbed.certificates import certificate, tls_with
from tests.testbed.receiver import Receiver
from workers.clouds.session import CloudSession
from workers.config.groups import CloudSettings
from workers.config.logins import RefreshTokenSource
from workers.process.foreign import bounded_session
from workers.tokens.errors import SourceError
from workers.tokens.sources import make_source
from workers.tokens.transport import Http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The authority of the server."""
    return certificate(tmp_path, "own")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return certificate(tmp_path, "other")


@pytest.fixture
def url(own: Path) -> Iterator[str]:
    with Receiver(context=tls_with(own)) as receiver:
        yield receiver.url


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_variable_replaces_the_systems_store_and_no_file_that_is_named(
    url: str, own: Path, other: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceError, match="not trusted"):
        Http(None).post(url)
    assert Http(own).post(url).ok
    monkeypatch.setenv(variable, str(own))
    assert Http(None).post(url).ok
    with pytest.raises(SourceError, match="not trusted") as caught:
        Http(other, "ca_file of this cloud's source").post(url)
    assert "in ca_file of this cloud's source" in (caught.value.remedy or "")
    with bounded_session(other, 5.0) as session, pytest.raises(requests.exceptions.SSLError):
        session.post(url, timeout=5.0)


def test_a_file_that_cannot_be_read_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no\.pem cannot be read") as caught:
        Http(tmp_path / "no.pem").post(url)
    assert caught.value.error == "misconfigured"


def test_a_clouds_authority_does_not_speak_for_the_login_provider(
    url: str, own: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))

    def source(ca_file: Path | None) -> Any:  # noqa: ANN401 - its private parts are looked at
        login = RefreshTokenSource(
            token_endpoint=url, refresh_token_command=("unused",), ca_file=ca_file
        )
        cloud = CloudSettings(auth_url=f"{url}/v3", project_id="p", source=login, ca_file=own)
        return make_source(cloud, lambda: None, None)  # type: ignore[arg-type, return-value]

    assert source(None)._keystone._http.post(url).ok, "the cloud's own server"
    assert source(own)._http.post(url).ok
    with pytest.raises(SourceError, match="not trusted"):
        source(None)._http.post(url)


def test_a_clouds_apis_are_called_with_its_authority_alone(
    url: str, own: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own))
    login = RefreshTokenSource(token_endpoint=url, refresh_token_command=("unused",))

    def answer(ca_file: Path | None) -> object:
        cloud = CloudSettings(auth_url=f"{url}/v3", project_id="p", source=login, ca_file=ca_file)
        session = CloudSession(cloud, NoAuth(endpoint=url), 5.0)
        try:
            return session._session.post(url).status_code
        finally:
            session.close()

    assert (answer(own), answer(None)) == (200, 200)
    with pytest.raises(Exception, match="certificate verify failed"):
        answer(other)
