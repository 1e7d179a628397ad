"""A revoked secret stays refused, whatever its kind: only another secret ends a revocation."""

from __future__ import annotations

import os
from itertools import count
from queue import Queue
from typing import TYPE_CHECKING

import pytest

from tests.testbed.stores import STORES
from tests.testbed.waiting import until
from tests.unit.test_tokens_deadline import Provider, running
from workers.config.groups import CloudSettings
from workers.config.logins import (
    ApplicationCredentialSource,
    ClientCredentialsSource,
    CloudsYamlSource,
    PasswordSource,
    RefreshTokenSource,
)
from workers.store.database import open_store
from workers.tokens import revocations
from workers.tokens.errors import SourceError
from workers.tokens.issuer import Issuer
from workers.tokens.revocations import Revocations
from workers.tokens.rpc import Answer, TokenGrant, TokenRefusal, TokenReport
from workers.tokens.secret import SecretCommand
from workers.tokens.sources import make_source
from workers.tokens.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa

    from workers.config.logins import Source as SourceSettings
    from workers.tokens.source import Source

# openstacksdk itself uses what it deprecates
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]

FIRST, SECOND = "the-first-secret", "the-second-secret"
ENTRY = """clouds:
  c:
    auth_type: password
    auth: {{auth_url: "{url}", username: u, user_domain_name: D, project_id: p, password: "{secret}"}}
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "_ROUNDS", 10)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_store(STORES.url(tmp_path / "state.db"), "state")
    yield engine
    engine.dispose()


class Place:
    """The file that holds a cloud's secret, and is perhaps printed by a command."""

    def __init__(self, path: Path, kind: str, url: str) -> None:
        self.path, self._kind, self._url = path, kind, url
        self.write(FIRST)

    def write(self, secret: str) -> None:
        """As an editor does: a new file in the old one's place."""
        text = ENTRY.format(url=f"{self._url}/v3", secret=secret)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text if self._kind == "clouds_yaml" else f"{secret}\n")
        fresh.chmod(0o600)
        fresh.rename(self.path)

    def settings(self) -> SourceSettings:
        endpoint = f"{self._url}/token"
        command = ("cat", str(self.path))
        kinds: dict[str, Callable[[], SourceSettings]] = {
            "password": lambda: PasswordSource(username="u", password_file=self.path),
            "password command": lambda: PasswordSource(username="u", password_command=command),
            "application credential": lambda: ApplicationCredentialSource(
                id="i", secret_file=self.path
            ),
            "clouds_yaml": lambda: CloudsYamlSource(file=self.path, entry="c", kind="password"),
            "client credentials": lambda: ClientCredentialsSource(
                client_id="c", client_secret_command=command, token_endpoint=endpoint
            ),
            "refresh token": lambda: RefreshTokenSource(
                refresh_token_file=self.path, token_endpoint=endpoint
            ),
            "refresh token command": lambda: RefreshTokenSource(
                refresh_token_command=command, token_endpoint=endpoint
            ),
        }
        return kinds[self._kind]()


KINDS = [
    "password",
    "password command",
    "application credential",
    "clouds_yaml",
    "client credentials",
    "refresh token",
    "refresh token command",
]


class Service:
    """One process of the token service for one cloud."""

    def __init__(self, place: Place, url: str, store: sa.Engine, name: str = "a") -> None:
        self.alarms: list[str] = []
        cloud = CloudSettings(auth_url=f"{url}/v3", project_id="p", source=place.settings())
        self.source: Source = make_source(
            cloud, lambda: Vault(store, [b"k" * 32], "one", name), Revocations(store, "one")
        )
        self.issuer = Issuer(
            "one",
            self.source,
            alarm=lambda _, error: self.alarms.append(error.error),
            longest_wait=30.0,
        )

    def answer(self) -> Answer:
        return self._waited(lambda answer: self.issuer.request(None, answer))

    def revoke(self) -> Answer:
        return self._waited(self.issuer.revoke)

    def _waited(self, call: Callable[[Callable[[Answer], None]], None]) -> Answer:
        answers: Queue[Answer] = Queue()
        call(answers.put)
        return answers.get(timeout=20.0)

    def is_refused(self) -> bool:
        answer = self.answer()
        assert isinstance(answer, TokenGrant | TokenRefusal)
        return isinstance(answer, TokenRefusal) and answer.error == "revoked" and answer.permanent


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_secret_logs_in_never_again(
    provider: Provider,
    store: sa.Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Neither a touched or rewritten file, nor the next hour, nor a restart or a standby helps."""
    hours = count()
    monkeypatch.setattr(SecretCommand, "fingerprint", lambda _: f"hour {next(hours)}")
    place = Place(tmp_path / "secret", kind, provider.url)
    service = Service(place, provider.url, store)
    standby = Service(place, provider.url, store, "b")
    assert isinstance(service.answer(), TokenGrant)
    assert isinstance(standby.answer(), TokenGrant)
    report = service.revoke()
    assert isinstance(report, TokenReport)
    assert service.is_refused()
    seen = [path for path in provider.seen if "well-known" not in path]

    os.utime(place.path, ns=(1, 1))
    assert service.is_refused()
    place.write(FIRST)
    assert service.is_refused()
    restarted = Service(place, provider.url, store)
    assert restarted.is_refused()
    standby.issuer.tick()
    until(lambda: not standby.issuer.busy, 20.0, "a look at the revocations")
    assert standby.is_refused()
    assert [path for path in provider.seen if "well-known" not in path] == seen, "no login"
    assert service.alarms == ["revoked"]

    place.write(SECOND)
    for one in (service, restarted, standby):
        assert isinstance(one.answer(), TokenGrant), "another secret"
    place.write(FIRST)
    assert Service(place, provider.url, store).is_refused(), "the first one stays revoked"


def test_the_store_holds_no_secret_and_salts_each_clouds_digests(store: sa.Engine) -> None:
    one, other = Revocations(store, "one"), Revocations(store, "other")
    for secret in (FIRST, SECOND):
        one.add(secret)
        one.add(secret)
    assert len(one.digests()) == 2
    assert FIRST in one
    assert FIRST not in other
    other.add(FIRST)
    assert not one.digests().keys() & other.digests().keys()
    assert FIRST not in f"{one.digests()}{other.digests()}"


def test_a_revocation_that_is_not_stored_says_so_and_counts_in_this_process(
    provider: Provider, tmp_path: Path
) -> None:
    broken = open_store(STORES.url(tmp_path / "state.db"), "state")
    place = Place(tmp_path / "secret", "password", provider.url)
    service = Service(place, provider.url, broken)
    with broken.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE revoked_secrets RENAME TO away")
    report = service.revoke()
    assert isinstance(report, TokenReport)
    assert "not recorded yet" in (report.remedy or "")
    assert "repeat the command" in (report.remedy or "")
    with broken.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO revoked_secrets")
    os.utime(place.path, ns=(1, 1))
    assert service.is_refused()
    broken.dispose()


def test_a_store_that_does_not_say_whether_a_secret_is_revoked_gives_none(
    provider: Provider, tmp_path: Path, store: sa.Engine
) -> None:
    place = Place(tmp_path / "secret", "password", provider.url)
    service = Service(place, provider.url, store)
    with store.begin() as connection:
        connection.exec_driver_sql("DROP TABLE revoked_secrets")
    with pytest.raises(SourceError, match="state store") as caught:
        service.source.fetch()
    assert not caught.value.permanent
