"""Device codes of the simulated login provider: requests, polling, and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from tests.testbed.simcloud.handle import SimCloud

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def discovered(cloud: SimCloud) -> dict[str, Any]:
    url = f"{cloud.issuer}/.well-known/openid-configuration"
    document: dict[str, Any] = requests.get(url, timeout=10).json()
    return document


def begin(cloud: SimCloud, **form: str) -> requests.Response:
    return requests.post(
        f"{cloud.issuer}/protocol/openid-connect/auth/device",
        data={"client_id": credentials.PUBLIC_CLIENT, "scope": "openid", **form},
        timeout=10,
    )


def redeem(cloud: SimCloud, code: str) -> requests.Response:
    form = {"grant_type": GRANT, "client_id": credentials.PUBLIC_CLIENT, "device_code": code}
    return requests.post(cloud.token_endpoint, data=form, timeout=10)


def error(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


@pytest.fixture
def eager(cloud: SimCloud) -> SimCloud:
    """A provider without a minimum polling interval."""
    cloud.set(device_interval_seconds=0)
    return cloud


def test_the_discovery_document_shows_whether_device_codes_are_supported(cloud: SimCloud) -> None:
    document = discovered(cloud)
    assert document["device_authorization_endpoint"].endswith("/auth/device")
    assert GRANT in document["grant_types_supported"]
    cloud.set(device_flow=False)
    document = discovered(cloud)
    assert "device_authorization_endpoint" not in document
    assert GRANT not in document["grant_types_supported"]
    assert error(begin(cloud)) == (400, "unauthorized_client")


def test_a_code_is_redeemed_once_after_the_user_approves(eager: SimCloud) -> None:
    code = begin(eager, scope="openid entitlements offline_access").json()
    assert code["user_code"] in code["verification_uri_complete"]
    assert error(redeem(eager, code["device_code"])) == (400, "authorization_pending")
    [waiting] = eager.device_logins()
    assert waiting.user_code == code["user_code"]
    assert eager.approve_device(code["user_code"])
    granted = redeem(eager, code["device_code"]).json()
    assert granted["scope"] == "openid entitlements offline_access"
    assert granted["refresh_token"]
    assert error(redeem(eager, code["device_code"])) == (400, "invalid_grant")
    assert eager.device_logins() == []
    assert not eager.approve_device(code["user_code"]), "decided already"


def test_a_user_can_deny_a_code(eager: SimCloud) -> None:
    code = begin(eager).json()
    assert eager.approve_device(code["user_code"], agree=False)
    assert error(redeem(eager, code["device_code"])) == (400, "access_denied")


def test_polling_too_often_gets_slow_down(cloud: SimCloud) -> None:
    cloud.set(device_interval_seconds=0.3)
    code = begin(cloud).json()
    assert code["interval"] == 0.3
    assert error(redeem(cloud, code["device_code"])) == (400, "authorization_pending")
    assert error(redeem(cloud, code["device_code"])) == (400, "slow_down")
    until(
        lambda: error(redeem(cloud, code["device_code"])) == (400, "authorization_pending"),
        5.0,
        "a question that is not too early",
        interval=0.4,
    )


def test_a_code_expires(eager: SimCloud) -> None:
    eager.set(device_code_seconds=0)
    assert error(redeem(eager, begin(eager).json()["device_code"])) == (400, "expired_token")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"client_id": "nobody"}, (401, "invalid_client")),
        ({"scope": "openid administration"}, (400, "invalid_scope")),
    ],
)
def test_a_client_that_may_not_use_device_codes_is_refused(
    cloud: SimCloud, form: dict[str, str], expected: tuple[int, str]
) -> None:
    assert error(begin(cloud, **form)) == expected
