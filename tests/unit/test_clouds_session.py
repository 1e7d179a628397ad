"""How a request to a cloud's API is sent: where to, with which headers, through which proxy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from keystoneauth1.exceptions import EndpointNotFound
from keystoneauth1.plugin import BaseAuthPlugin
from openstack.exceptions import ServiceDisabledException

from tests.testbed.receiver import Got, Receiver, Reply
from workers.clouds.errors import CloudError
from workers.clouds.session import CloudSession, cloud_errors
from workers.config.groups import CloudSettings
from workers.config.logins import RefreshTokenSource

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/servers/id-1/action"
LOGIN = RefreshTokenSource(
    token_endpoint="http://127.0.0.1/token", refresh_token_command=("unused",)
)


class Token(BaseAuthPlugin):
    """A login whose token can be replaced."""

    value = "one"

    def get_headers(self, _session: object) -> dict[str, str]:
        return {"X-Auth-Token": self.value}


class Session(CloudSession):
    """A cloud whose catalog is `url`; notes when it is read."""

    def __init__(self, url: str) -> None:
        self.token, self.url = Token(), url
        self.read: list[tuple[str, str]] = []
        settings = CloudSettings(auth_url=f"{url}/v3", project_id="p", source=LOGIN)
        super().__init__(settings, self.token, 5.0)

    def _find(self, service: str, token: str) -> tuple[str, str | None]:
        self.read.append((service, token))
        return self.url, "2.1"

    def post(self) -> int:
        return self.request("POST", PATH, json={"os-start": None}).status_code


@pytest.fixture
def cloud() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def session(cloud: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    session = Session(cloud.url.rstrip("/"))
    yield session
    session.close()


def test_a_request_carries_token_version_and_body(session: Session, cloud: Receiver) -> None:
    assert session.post() == 200
    (got,) = cloud.got
    assert got.path == PATH
    assert json.loads(got.body) == {"os-start": None}
    wanted = {
        "x-auth-token": "one",
        "openstack-api-version": "compute 2.1",
        "x-openstack-nova-api-version": "2.1",
        "content-type": "application/json",
        "accept-encoding": "identity",
    }
    assert wanted.items() <= got.headers.items()
    assert "lamplighter/1" in got.headers["user-agent"]


def test_an_address_is_looked_up_once_for_each_token_and_again_after_a_404(
    session: Session, cloud: Receiver
) -> None:
    """A new token brings a new catalog; behind an address that answers 404 there may be another API."""
    session.post()
    session.post()
    assert session.read == [("compute", "one")]
    session.token.value = "two"
    session.post()
    cloud.answer = lambda _: Reply(404)
    with pytest.raises(CloudError):
        session.post()
    assert session.read == [("compute", "one"), ("compute", "two")]
    cloud.answer = lambda _: Reply()
    session.post()
    assert session.read[2:] == [("compute", "two")]
    assert [got.headers["x-auth-token"] for got in cloud.got] == ["one", "one", *["two"] * 3]


def test_a_redirect_is_followed_with_the_same_request(session: Session, cloud: Receiver) -> None:
    def moved(got: Got) -> Reply:
        here = got.path.startswith("/moved")
        return Reply() if here else Reply(307, headers={"location": f"{session.url}/moved{PATH}"})

    cloud.answer = moved
    assert session.post() == 200
    assert [got.path for got in cloud.got] == [PATH, f"/moved{PATH}"]
    assert cloud.got[0].body == cloud.got[1].body


def test_redirects_in_a_circle_end(session: Session, cloud: Receiver) -> None:
    """Each answer may take the time of a whole call: thirty of them would hold a node for a long time."""
    cloud.answer = lambda _: Reply(307, headers={"location": f"{session.url}{PATH}"})
    with pytest.raises(CloudError) as caught:
        session.post()
    assert "redirect" in str(caught.value)
    assert len(cloud.got) <= 3 * 4  # tries, and requests of each


def test_the_environments_proxy_is_used_unless_the_host_is_excepted(
    session: Session, cloud: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", session.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    session.post()
    session.url = "http://cloud.invalid:8774"
    session.token.value = "two"
    assert session.post() == 200
    assert [got.path for got in cloud.got] == [PATH, f"http://cloud.invalid:8774{PATH}"]


@pytest.mark.parametrize(
    "error", [EndpointNotFound("no compute in Nowhere"), ServiceDisabledException("in Nowhere")]
)
def test_a_region_that_the_catalog_has_not_is_named_with_the_setting(error: Exception) -> None:
    with pytest.raises(CloudError, match=r"in Nowhere; correct region or interf"), cloud_errors():
        raise error
