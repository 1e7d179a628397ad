"""`lamplighter tokens revoke`: a login ends at its provider, is forgotten, and stays refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.roles import Role
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.effects import Answer
from tests.testbed.simcloud.faults import Fault
from tests.testbed.token_site import TokenSite, serving
from workers.errors import TokenRefusedError
from workers.store.database import connect, reading
from workers.store.tables import refresh_tokens
from workers.tokens.callers import Callers
from workers.tokens.client import TokenClient
from workers.tokens.rpc import TokenRequest

if TYPE_CHECKING:
    from tests.testbed.simcloud.handle import SimCloud
    from workers.config.settings import Settings

REVOKE = ("tokens", "revoke", "one", "--yes")


def refused(client: TokenClient) -> str:
    with pytest.raises(TokenRefusedError) as caught:
        client.fetch("one")
    assert caught.value.permanent
    return caught.value.error


def stored(settings: Settings) -> bytes | None:
    """The encrypted refresh token."""
    engine = connect(settings.store.url)
    with reading(engine) as connection:
        found: bytes | None = connection.scalars(sa.select(refresh_tokens.c.ciphertext)).one()
    engine.dispose()
    return found


def test_a_revoked_login_is_over_everywhere_and_after_a_restart(
    cloud: SimCloud, site: TokenSite
) -> None:
    cloud.revoke_grants()  # so that there is one login only
    settings = site.configure({"one": site.refresh_token_cloud(cloud)})
    with TokenClient(settings, "power") as client:
        with serving(settings):
            client.fetch("one")
            done = site.lamplighter(*REVOKE)
            assert done.code == 0, done.err
            assert "an operator has revoked this login" in done.out
            assert refused(client) == "revoked"
        used = cloud.counts()
        assert (used["revocation"], used["token_revoke"]) == (1, 1)
        assert cloud.revoke_grants() == 0, "none is valid at the provider"
        assert stored(settings) is None
        with serving(settings):
            assert refused(client) == "revoked"
            assert "revoked" in site.lamplighter("tokens", "status").out
            assert cloud.counts() == used
            site.secret("refresh-token", cloud.mint_refresh_token())
            assert client.fetch("one").token
    for secret in cloud.issued_secrets():
        assert secret not in done.out + done.err


def test_a_provider_that_does_not_confirm_leaves_a_refused_login_to_revoke_again(
    cloud: SimCloud, site: TokenSite
) -> None:
    cloud.revoke_grants()  # so that there is one login only
    settings = site.configure({"one": site.refresh_token_cloud(cloud)})
    with serving(settings), TokenClient(settings, "power") as client:
        client.fetch("one")
        cloud.inject(Fault(kind="revocation", effect=Answer(status=503), times=1))
        done = site.lamplighter(*REVOKE)
        assert done.code == 1
        assert "responds with 503: repeat the command" in done.err
        assert refused(client) == "revoked"
        again = site.lamplighter(*REVOKE)
        assert again.code == 0, again.err
    assert cloud.revoke_grants() == 0
    assert cloud.counts()["refresh"] == 1


def test_a_credential_that_only_its_service_can_end_is_refused_until_it_is_replaced(
    cloud: SimCloud, site: TokenSite
) -> None:
    settings = site.configure({"one": site.password_cloud(cloud)})
    with serving(settings), TokenClient(settings, "power") as client:
        client.fetch("one")
        done = site.lamplighter(*REVOKE)
        assert done.code == 1
        assert "but it is still valid at its service: disable it there" in done.err
        assert refused(client) == "revoked"
        assert cloud.counts()["token_revoke"] == 1
        used = cloud.counts()
        site.secret("password", credentials.PASSWORD + "\n")
        assert refused(client) == "revoked", "the same one, in a new file"
    with serving(settings), TokenClient(settings, "power") as client:
        assert refused(client) == "revoked", "after a restart"
        assert cloud.counts() == used, "nobody has tried"
        site.secret("password", "another one")
        assert refused(client) == "unauthorized", "Keystone was asked"


def test_it_asks_first_and_an_unknown_cloud_is_named(cloud: SimCloud, site: TokenSite) -> None:
    site.configure({"one": site.password_cloud(cloud)})
    asked = site.lamplighter("tokens", "revoke", "one")
    assert (asked.code, "--yes" in asked.err) == (2, True)
    unknown = site.lamplighter("tokens", "revoke", "two", "--yes")
    assert (unknown.code, "there is no cloud 'two'" in unknown.err) == (2, True)


@pytest.mark.parametrize("role", sorted(Role))
def test_only_operators_end_a_login(role: Role) -> None:
    everybody = frozenset(map(str, Role))
    callers = Callers(everybody, everybody, frozenset({str(Role.OPERATOR)}))
    refusal = callers.refusal(role, TokenRequest("one", revoke=True))
    assert (refusal is None) == (role is Role.OPERATOR)
