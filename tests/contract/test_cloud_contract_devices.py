"""What `lamplighter tokens login` relies on, of a login provider with device codes (RFC 8628)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.testbed.simcloud import credentials
from workers.config.logins import RefreshTokenSource
from workers.tokens.device import DeviceCode, device_endpoint, poll_for_tokens, request_device_code
from workers.tokens.errors import SourceError
from workers.tokens.oidc import redeem
from workers.tokens.transport import Http

if TYPE_CHECKING:
    from tests.contract.clouds import Cloud

HTTP = Http(None)


def source(cloud: Cloud) -> RefreshTokenSource:
    return RefreshTokenSource(
        token_endpoint=cloud.token_endpoint,
        entitlements=(credentials.ENTITLEMENT,),
        client_id=credentials.PUBLIC_CLIENT,
        refresh_token_command=("true",),
    )


def begin(cloud: Cloud) -> DeviceCode:
    endpoint = device_endpoint(HTTP, cloud.token_endpoint)
    assert endpoint is not None
    return request_device_code(HTTP, source(cloud), endpoint)


def test_a_login_that_a_person_agrees_to_gives_a_refresh_token_for_the_cloud(
    cloud: Cloud,
) -> None:
    code = begin(cloud)
    assert code.user_code
    assert code.url.startswith("http")
    assert code.expires_in > 60
    assert cloud.approve_device(code.user_code)
    tokens = poll_for_tokens(HTTP, source(cloud), code, sleep=lambda _: None)
    again = redeem(HTTP, source(cloud), tokens.refresh_token, "nowhere")
    assert again.access.token != tokens.access.token


def test_until_then_the_answer_is_to_wait(cloud: Cloud) -> None:
    asked: list[float] = []
    # one question, as the second would come when the code has run out
    code = begin(cloud)
    code = replace(code, expires_in=code.interval + 1)
    now = iter([0.0, 0.0, code.interval + 2])
    with pytest.raises(SourceError) as caught:
        poll_for_tokens(HTTP, source(cloud), code, sleep=asked.append, clock=lambda: next(now))
    assert (caught.value.error, asked) == ("expired_token", [code.interval])


def test_a_code_that_was_never_given_is_refused_for_good(cloud: Cloud) -> None:
    code = replace(begin(cloud), code="never-given")
    with pytest.raises(SourceError) as caught:
        poll_for_tokens(HTTP, source(cloud), code, sleep=lambda _: None)
    assert (caught.value.error, caught.value.permanent) == ("invalid_grant", True)
