"""Tests of `lamplighter tokens status|test|login` on RabbitMQ and the simulated cloud."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.effects import Answer
from tests.testbed.simcloud.faults import Fault
from tests.testbed.token_site import TokenSite, serving
from tests.testbed.waiting import until
from workers.store.database import connect, reading
from workers.store.overview import refresh_token_expiries
from workers.tokens.client import TokenClient

if TYPE_CHECKING:
    from tests.testbed.installation import CommandResult
    from tests.testbed.simcloud.handle import SimCloud


@pytest.fixture
def cloud(cloud: SimCloud) -> SimCloud:
    """A cloud that allows frequent polling for a device login."""
    cloud.set(device_interval_seconds=0.1)
    return cloud


def clouds_in(said: CommandResult) -> dict[str, dict[str, object]]:
    clouds: dict[str, dict[str, object]] = json.loads(said.out)["clouds"]
    return clouds


# -- status


def test_status_shows_logins_and_tokens_without_a_login(cloud: SimCloud, site: TokenSite) -> None:
    cloud.set(refresh_token_seconds=40 * 86400)
    settings = site.configure(
        {"egi": site.refresh_token_cloud(cloud), "own": site.application_credential_cloud(cloud)}
    )
    with serving(settings), TokenClient(settings, "power") as client:
        # the service uses the login once at its start, to keep it alive
        until(lambda: cloud.counts().get("rescope"), 20.0, "the first use of the login")
        token = client.fetch("egi").token
        cloud.reset_counts()
        said = site.lamplighter("tokens", "status")
        assert said.code == 0, said.err
        seen = clouds_in(site.lamplighter("tokens", "status", "--json"))
    assert cloud.counts() == {}
    for fact in ("oidc_refresh_token", "application_credential", "none yet", "in 39 d 23 h"):
        assert fact in said.out
    assert isinstance(left := seen["egi"]["token_seconds_left"], float)
    assert 0 < left < 3600
    assert seen["own"]["used"] is None
    assert seen["own"]["token_seconds_left"] is None
    for secret in [*cloud.issued_secrets(), token, credentials.APPLICATION_CREDENTIAL_SECRET]:
        assert secret not in said.out + said.err


def test_status_shows_error_and_remedy(cloud: SimCloud, site: TokenSite) -> None:
    settings = site.configure({"egi": site.refresh_token_cloud(cloud)})
    cloud.revoke_grants()
    with serving(settings):
        until(lambda: cloud.counts().get("refresh"), 20.0, "the first use of the login")
        until(lambda: site.lamplighter("tokens", "status").code == 1, 20.0, "the trouble")
        said = site.lamplighter("tokens", "status")
    assert "invalid_grant" in said.out
    assert "replace the refresh token in" in said.out


def test_status_without_a_token_service_shows_the_store(cloud: SimCloud, site: TokenSite) -> None:
    settings = site.configure({"egi": site.refresh_token_cloud(cloud)}, {"timeout": 1})
    with serving(settings):
        until(lambda: cloud.counts().get("rescope"), 20.0, "the first use of the login")
    said = site.lamplighter("tokens", "status", "--json")
    assert said.code == 3
    assert "has not responded" in json.loads(said.out)["problems"][0]
    assert clouds_in(said)["egi"]["used"] is not None
    assert clouds_in(said)["egi"]["fresh"] is False
    site.secret("refresh-token", cloud.mint_refresh_token())
    assert clouds_in(site.lamplighter("tokens", "status", "--json"))["egi"]["fresh"] is True


def test_a_login_that_another_kind_has_replaced_neither_ends_nor_waits_for_its_use(
    cloud: SimCloud, site: TokenSite
) -> None:
    """Neither for `tokens status`, nor for the metrics, whose alert no new login would end."""
    cloud.set(refresh_token_seconds=40 * 86400)
    settings = site.configure({"egi": site.refresh_token_cloud(cloud)})
    store = connect(settings.store.url)

    def ends() -> dict[str, int]:
        with reading(store) as connection:
            return refresh_token_expiries(connection)

    with serving(settings):
        until(lambda: ends().keys() == {"egi"}, 20.0, "the first use of the login")
    settings = site.configure({"egi": site.application_credential_cloud(cloud)})
    with serving(settings):
        seen = clouds_in(site.lamplighter("tokens", "status", "--json"))["egi"]
    assert (seen["used"], seen["ends"], seen["fresh"]) == (None, None, False)
    assert ends() == {}
    store.dispose()


def test_status_reports_a_user_that_is_not_allowed(cloud: SimCloud, site: TokenSite) -> None:
    settings = site.configure(
        {"own": site.application_credential_cloud(cloud)}, {"allowed_users": ["power"]}
    )
    with serving(settings):
        said = site.lamplighter("tokens", "status")
    assert said.code == 1
    assert "is not in tokens.allowed_users" in said.out


# -- test


@pytest.mark.parametrize("kind", ["password", "refresh_token", "client_credentials"])
def test_test_shows_identity_and_response_of_the_cloud(
    cloud: SimCloud, site: TokenSite, kind: str
) -> None:
    cloud.add_servers(["node1", "node2"])
    settings = site.configure({"one": getattr(site, f"{kind}_cloud")(cloud)})
    with serving(settings):
        said = site.lamplighter("tokens", "test", "one")
    assert said.code == 0, said.err
    for fact in (credentials.PROJECT_NAME, credentials.PROJECT_ID, "member", cloud.url, "200"):
        assert fact in said.out
    assert ("node1" in said.out) != ("node2" in said.out), "one server at most"
    assert cloud.counts()["list"] == 1
    assert not [secret for secret in cloud.issued_secrets() if secret in said.out + said.err]


def test_failed_test_shows_cause_and_remedy(cloud: SimCloud, site: TokenSite) -> None:
    table = site.refresh_token_cloud(cloud)
    narrow = {**site.password_cloud(cloud), "region": "Elsewhere"}
    settings = site.configure({"egi": table, "far": narrow, "own": site.password_cloud(cloud)})
    cloud.revoke_grants()
    cloud.inject(Fault(kind="list", effect=Answer(status=403)))
    with serving(settings):
        refused = site.lamplighter("tokens", "test", "egi")
        misplaced = site.lamplighter("tokens", "test", "far")
        forbidden = site.lamplighter("tokens", "test", "own")
    assert (refused.code, misplaced.code, forbidden.code) == (1, 1, 1)
    assert "invalid_grant" in refused.err
    assert "refresh-token" in refused.err, "the file where the new one goes"
    assert "RegionOne (public)" in misplaced.err
    assert "403" in forbidden.err
    assert "ask the site for a role" in forbidden.err


def test_unknown_cloud_is_reported_with_the_known_ones(cloud: SimCloud, site: TokenSite) -> None:
    site.configure({"one": site.password_cloud(cloud)}, {"timeout": 1})
    said = site.lamplighter("tokens", "test", "two")
    assert (said.code, "it has one" in said.err) == (2, True)
    away = site.lamplighter("tokens", "test", "one")
    assert (away.code, "has not responded" in away.err) == (3, True)


# -- login


def test_device_login_repairs_a_cloud_of_a_running_service(
    cloud: SimCloud, site: TokenSite
) -> None:
    table = site.refresh_token_cloud(cloud)
    settings = site.configure({"egi": table})
    cloud.revoke_grants()
    file = site.folder / "refresh-token"
    with serving(settings), site.start("tokens", "login", "egi") as login:
        [waiting] = until(cloud.device_logins, 20.0, "the login")
        until(lambda: waiting.user_code in login.log.read_text(), 5.0, "the code on the screen")
        until(lambda: cloud.counts().get("device_token", 0) >= 3, 10.0, "some polls")
        before = file.read_text()
        assert cloud.approve_device(waiting.user_code)
        assert login.wait(20.0) == 0, login.log.read_text()
        said = login.log.read_text()
        assert file.read_text() != before
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [path.name for path in site.folder.iterdir() if path.name.startswith(".")] == []
        tried = site.lamplighter("tokens", "test", "egi")
    assert tried.code == 0, tried.err
    assert f"{cloud.issuer}/device?user_code={waiting.user_code}" in said
    assert "slow_down" not in said
    assert not [secret for secret in cloud.issued_secrets() if secret in said]


def test_declined_login_leaves_the_file_unchanged(cloud: SimCloud, site: TokenSite) -> None:
    site.configure({"egi": site.refresh_token_cloud(cloud)})
    file = site.folder / "refresh-token"
    before = file.read_text()
    with site.start("tokens", "login", "egi") as login:
        [waiting] = until(cloud.device_logins, 20.0, "the login")
        cloud.approve_device(waiting.user_code, agree=False)
        assert login.wait(20.0) == 1
    assert "approve in the browser" in login.log.read_text()
    assert file.read_text() == before


def test_login_without_device_codes_reads_a_pasted_token(cloud: SimCloud, site: TokenSite) -> None:
    cloud.set(device_flow=False)
    settings = site.configure({"egi": site.refresh_token_cloud(cloud, "spent")})
    token = cloud.mint_refresh_token()
    said = site.lamplighter("tokens", "login", "egi", typed=f"  {token}\n")
    assert said.code == 0, said.err
    assert "offline_access" in said.err
    assert token not in said.out + said.err
    file = site.folder / "refresh-token"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (f"{token}\n", 0o600)
    with serving(settings), TokenClient(settings, "power") as client:
        assert client.fetch("egi").token


def test_login_replaces_other_secrets_too(cloud: SimCloud, site: TokenSite) -> None:
    site.configure(
        {"own": site.password_cloud(cloud), "service": site.client_credentials_cloud(cloud)}
    )
    assert site.lamplighter("tokens", "login", "own", typed="pass phrase\n").code == 0
    assert (site.folder / "password").read_text() == "pass phrase\n"
    for bad in ("", "two\nlines\n"):
        assert site.lamplighter("tokens", "login", "own", typed=bad).code == 1
    assert (site.folder / "password").read_text() == "pass phrase\n"
    command = site.lamplighter("tokens", "login", "service", typed="x")
    assert (command.code, "the output of cat" in command.err) == (2, True)


def test_secret_is_not_echoed_on_a_terminal(cloud: SimCloud, site: TokenSite) -> None:
    site.configure({"egi": site.refresh_token_cloud(cloud)})
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", *site.argv("tokens", "login", "egi", "--paste")]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(MINIMAL_ENVIRONMENT)
    ) as running:
        os.close(theirs)
        shown = b""
        typed = False
        with suppress(OSError):  # the command has closed its end
            while True:
                shown += os.read(ours, 4096)
                if not typed and b"Refresh token: " in shown:
                    os.write(ours, b"typed-in-secret\n")
                    typed = True
        os.close(ours)
    assert (running.returncode, typed) == (0, True), shown
    assert b"typed-in-secret" not in shown
    assert (site.folder / "refresh-token").read_text() == "typed-in-secret\n"
