"""Tests of the token service on RabbitMQ with the simulated cloud."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from keystoneauth1.session import Session
from structlog.testing import capture_logs

from producers.amqp import connection_parameters
from tests.testbed.simcloud.effects import Hang
from tests.testbed.simcloud.faults import Fault
from tests.testbed.token_site import TokenSite, serving
from tests.testbed.waiting import until
from workers.broker.blocking import blocking_channel
from workers.broker.topology import TOKEN_KEY, TOKENS
from workers.errors import TokenRefusedError, TokenServiceAwayError
from workers.tokens.client import TokenClient
from workers.tokens.plugin import TokenServicePlugin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.simcloud.handle import SimCloud


LOGINS = {
    "password": {"token_password": 1},
    "application_credential": {"token_application_credential": 1},
    "refresh_token": {"refresh": 1, "federation": 1, "rescope": 1},
    "client_credentials": {"client_credentials": 1, "federation": 1, "rescope": 1},
}


@pytest.mark.parametrize("kind", LOGINS)
def test_thousand_requests_from_32_threads_cost_one_login(
    cloud: SimCloud, site: TokenSite, kind: str
) -> None:
    settings = site.configure({"one": getattr(site, f"{kind}_cloud")(cloud)})
    with serving(settings), TokenClient(settings, "power") as client:
        plugin = TokenServicePlugin(client, "one", cloud.auth_url)
        session = Session(auth=plugin)
        with ThreadPoolExecutor(32) as pool:
            tokens = set(pool.map(lambda _: session.get_token(), range(1000)))
        compute = session.get_endpoint(service_type="compute", skip_discovery=True)
    assert len(tokens) == 1
    assert compute is not None
    assert compute.startswith(cloud.url)
    assert cloud.counts() == LOGINS[kind]


@pytest.mark.parametrize("kind", ["password", "refresh_token"])
def test_token_revoked_during_many_calls_is_replaced_once_and_all_calls_succeed(
    cloud: SimCloud, site: TokenSite, kind: str
) -> None:
    settings = site.configure({"one": getattr(site, f"{kind}_cloud")(cloud)})
    with serving(settings), TokenClient(settings, "power") as client:
        session = Session(auth=TokenServicePlugin(client, "one", cloud.auth_url))
        wanted = {"service_type": "compute"}

        def call(_: int) -> int:
            return session.get("/servers", endpoint_filter=wanted).status_code

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(call, range(64))) == {200}
            cloud.reset_counts()
            cloud.revoke_tokens()
            assert set(pool.map(call, range(64))) == {200}
        session.session.close()
    counts = cloud.counts()
    if kind == "password":
        assert counts["token_password"] == 1
    else:
        assert (counts["federation"], counts["rescope"]) == (1, 1)
        assert "refresh" not in counts, "the access token is still valid: no rotation"


def test_invalid_grant_costs_one_call_and_one_alarm_until_a_new_file(
    cloud: SimCloud, site: TokenSite
) -> None:
    settings = site.configure({"one": site.refresh_token_cloud(cloud)})
    cloud.revoke_grants()
    with serving(settings), TokenClient(settings, "power") as client:
        session = Session(auth=TokenServicePlugin(client, "one", cloud.auth_url))
        for _ in range(50):
            # keystoneauth passes our error through
            with pytest.raises(TokenRefusedError, match="Session not active") as caught:
                session.get("/servers", endpoint_filter={"service_type": "compute"})
            assert (caught.value.error, caught.value.permanent) == ("invalid_grant", True)
        assert cloud.counts() == {"refresh": 1}
        site.wait_depth("audit", 1)

        path = site.secret("refresh-token", cloud.mint_refresh_token())
        assert client.fetch("one").token
    [(_, body)] = site.drain("audit")
    alarm = json.loads(body)
    assert alarm["type"] == "lamplighter.alarm.token.v1"
    assert alarm["subject"] == "one"
    assert "invalid_grant" in alarm["data"]["message"]
    assert str(path) in alarm["data"]["remedy"]


def test_clouds_with_one_refresh_token_never_use_it_twice(cloud: SimCloud, site: TokenSite) -> None:
    """A provider that rotates ends the login at a second use, for all of them."""
    table = site.refresh_token_cloud(cloud)
    for names in ("bc", "abc", "c"):  # a cloud is added, and one that held the token goes
        settings = site.configure(dict.fromkeys(names, table))
        with serving(settings), TokenClient(settings, "power") as client:
            for name in names:
                assert client.fetch(name).token
            reports = [client.report(name).trouble for name in names]
        assert reports == [None] * len(names)


def test_slow_cloud_delays_no_other_and_differs_from_a_dead_service(
    cloud: SimCloud, site: TokenSite
) -> None:
    settings = site.configure(
        {"slow": site.password_cloud(cloud), "quick": site.application_credential_cloud(cloud)},
        tokens={"timeout": 4},
    )
    cloud.inject(Fault(kind="token_password", effect=Hang(seconds=5)))
    with (
        serving(settings),
        TokenClient(settings, "power") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(client.fetch, "slow")
        client.fetch("quick")
        assert not slow.done()
        with pytest.raises(TokenRefusedError, match="waiting for the login") as caught:
            slow.result()
        assert (caught.value.error, caught.value.permanent) == ("provider_away", False)


def test_missing_service_is_reported_to_all_threads_within_the_timeout(
    cloud: SimCloud, site: TokenSite
) -> None:
    settings = site.configure({"one": site.password_cloud(cloud)}, tokens={"timeout": 1})
    with TokenClient(settings, "power") as client:
        session = Session(auth=TokenServicePlugin(client, "one", cloud.auth_url))

        def away(_: int) -> bool:
            with pytest.raises(TokenServiceAwayError):
                session.get_token()
            return True

        began = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(away, range(16)))
        assert time.monotonic() - began < 10, "together, not one after the other"


def test_request_that_the_broker_refuses_for_a_moment_is_repeated(
    cloud: SimCloud, site: TokenSite
) -> None:
    """As it does while a queue has no leader: its node hangs, and the others are choosing a new one."""
    settings = site.configure({"one": site.password_cloud(cloud)})
    parameters = connection_parameters(settings.broker, "test")
    with (
        blocking_channel(parameters) as channel,
        ThreadPoolExecutor(1) as pool,
        TokenClient(settings, "power") as client,
        capture_logs() as logs,
    ):
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        # a full queue beside the right one: what it refuses, the broker refuses
        channel.queue_declare("full", arguments=full)
        channel.queue_bind("full", TOKENS, TOKEN_KEY)
        grant = pool.submit(client.fetch, "one")
        # the connection whose message was refused
        until(lambda: "broker_connection_failed" in [line["event"] for line in logs], 10, "its end")
        channel.queue_delete("full")
        with serving(settings):
            assert grant.result(20).token


def test_unreachable_broker_is_reported_within_the_timeout(
    cloud: SimCloud, site: TokenSite
) -> None:
    settings = site.configure(
        {"one": site.password_cloud(cloud)},
        tokens={"timeout": 1},
        broker_url="amqp://nobody:nothing@127.0.0.1:9/",
    )
    with (
        TokenClient(settings, "power") as client,
        pytest.raises(TokenServiceAwayError, match="no connection"),
    ):
        client.fetch("one")


def test_missing_topology_is_reported(cloud: SimCloud, run_dir: Path, broker_url: str) -> None:
    site = TokenSite(run_dir / "site", broker_url)
    settings = site.configure({"one": site.password_cloud(cloud)}, tokens={"timeout": 2})
    with TokenClient(settings, "power") as client, pytest.raises(TokenServiceAwayError):
        client.fetch("one")
