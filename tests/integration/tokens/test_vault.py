"""Tests of the refresh token in the store, on both kinds of database."""

from __future__ import annotations

import base64
import math
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.testbed.waiting import until
from workers.store.database import open_store
from workers.store.tables import refresh_tokens
from workers.tokens.errors import SourceError
from workers.tokens.transport import time_left
from workers.tokens.vault import LEASE, Vault
from workers.tokens.vault_key import load_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST = "from the file"
KEY = secrets.token_bytes(32)


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def vault(store: sa.Engine, owner: str = "a", *, key: bytes = KEY, cloud: str = "one") -> Vault:
    return Vault(store, [key], cloud, owner)


def row(store: sa.Engine) -> Any:  # noqa: ANN401 - a row
    columns = refresh_tokens.c
    with store.begin() as connection:
        return connection.execute(
            sa.select(columns.ciphertext, columns.seed, columns.rotated_at, columns.expires_at)
        ).one()


def newest(store: sa.Engine, file_token: str = FIRST) -> str:
    with vault(store, "reader").lease(file_token) as leased:
        return leased.token()


def rotate(store: sa.Engine, token: str, file_token: str = FIRST) -> None:
    with vault(store).lease(file_token) as leased:
        leased.replace(token, None)


def expire_lease(store: sa.Engine) -> None:
    with store.begin() as connection:
        connection.execute(sa.update(refresh_tokens).values(lease_until=1))


def test_newest_token_is_stored_encrypted_for_the_next_service(store: sa.Engine) -> None:
    assert newest(store) == "from the file"
    with vault(store).lease("from the file") as leased:
        leased.replace("rotated", 86400.0)
    assert newest(store) == "rotated"
    kept = row(store)
    assert b"rotated" not in kept.ciphertext
    assert kept.expires_at - kept.rotated_at == 86400 * 10**9


def test_new_file_starts_a_new_chain_and_the_old_one_stays_until_the_first_rotation(
    store: sa.Engine,
) -> None:
    rotate(store, "rotated")
    before = row(store)
    assert newest(store, "another file") == "another file"
    assert row(store) == before
    rotate(store, "rotated again", "another file")
    assert newest(store, "another file") == "rotated again"
    assert newest(store, "from the file") == "from the file"


def test_a_cloud_that_was_renamed_goes_on_with_its_newest_token(store: sa.Engine) -> None:
    """That of the file is used up: a provider that rotates would take its second use for theft."""
    rotate(store, "rotated")
    with vault(store, cloud="two").lease(FIRST) as leased:
        assert leased.token() == "rotated"
        leased.replace("rotated again", None)
    assert newest(store) == "rotated again"
    with vault(store, cloud="two").lease("another file") as leased:
        assert leased.token() == "another file"


def test_a_login_is_forgotten_under_all_its_names(store: sa.Engine) -> None:
    rotate(store, "rotated")
    ended: list[str] = []
    vault(store, cloud="two").revoke(FIRST, ended.append)
    assert ended == ["rotated"]
    assert newest(store) == FIRST


def test_one_service_at_a_time_holds_the_lease(store: sa.Engine) -> None:
    with (
        vault(store, "service a").lease("from the file"),
        pytest.raises(SourceError, match=r"another token service.*service a"),
        vault(store, "service b").lease("from the file"),
    ):
        pass
    assert newest(store) == "from the file"


def test_lease_expires_on_the_clock_of_the_store(store: sa.Engine) -> None:
    dead = Vault(store, [KEY], "one", "dead", seconds=0.5)
    leased = dead.lease("from the file")
    leased.__enter__()

    def free() -> bool:
        try:
            return newest(store) == "from the file"
        except SourceError:
            return False

    assert not free()
    until(free, 10.0, "the end of the lease")


def test_lease_from_before_the_clock_was_set_back_ends_as_any_other(store: sa.Engine) -> None:
    """Its holder is dead, or works for the length of a lease at most: nobody waits an hour for it."""
    leased = vault(store, "dead").lease("from the file")
    leased.__enter__()
    with store.begin() as connection:
        until_ = refresh_tokens.c.lease_until
        connection.execute(sa.update(refresh_tokens).values(lease_until=until_ + 3_600_000))
    successor = Vault(store, [KEY], "one", "successor", seconds=0.5)

    def free() -> bool:
        try:
            with successor.lease("from the file"):
                return True
        except SourceError:
            return False

    assert not free()
    until(free, 10.0, "the end of the lease")


def test_lease_that_does_not_outlast_its_calls_gives_no_token(store: sa.Engine) -> None:
    """The calls have a time limit that ends before the lease: it is too late only after a freeze."""
    with vault(store).lease("from the file") as leased:
        assert 0 < time_left() < LEASE
        assert leased.token() == "from the file"
        with store.begin() as connection:
            columns = refresh_tokens.c
            connection.execute(
                sa.update(refresh_tokens).values(lease_until=columns.lease_until - 20_000)
            )
        with pytest.raises(SourceError, match="expired"):
            leased.token()
    assert time_left() == math.inf


def test_frozen_predecessor_gets_no_token_and_overwrites_none(store: sa.Engine) -> None:
    with vault(store, "frozen").lease("from the file") as leased:
        expire_lease(store)
        rotate(store, "the successor's")
        with pytest.raises(SourceError, match="expired"):
            leased.token()
        leased.replace("the predecessor's", None)
    assert newest(store) == "the successor's"


def test_token_received_before_the_freeze_is_not_lost(store: sa.Engine) -> None:
    with vault(store, "frozen").lease("from the file") as leased:
        expire_lease(store)
        with vault(store, "successor").lease("from the file"):
            leased.replace("received", None)
    assert newest(store) == "received"


def test_token_is_stored_later_if_the_store_fails(store: sa.Engine) -> None:
    mine = vault(store)
    with mine.lease("from the file") as leased:
        with store.begin() as connection:
            connection.execute(sa.text("ALTER TABLE refresh_tokens RENAME TO hidden"))
        with pytest.raises(SourceError, match="store does not respond") as caught:
            leased.replace("rotated", None)
        assert not caught.value.permanent
        with store.begin() as connection:
            connection.execute(sa.text("ALTER TABLE hidden RENAME TO refresh_tokens"))
    assert newest(store) == "from the file"
    with mine.lease("from the file") as leased:
        assert leased.token() == "rotated"
    assert newest(store) == "rotated"


def test_another_key_is_reported_and_changes_nothing(store: sa.Engine) -> None:
    rotate(store, "rotated")
    with (
        pytest.raises(SourceError, match="another key") as caught,
        vault(store, key=secrets.token_bytes(32)).lease("from the file"),
    ):
        pass
    assert (caught.value.error, caught.value.permanent) == ("wrong_key", True)
    assert "key_file" in (caught.value.remedy or "")
    assert newest(store) == "rotated"


def test_the_key_is_rotated_as_the_documentation_says(store: sa.Engine, run_dir: Path) -> None:
    """A new line on top, then a refresh, then the old line goes: no login is lost at any step."""
    file = run_dir / "token.key"
    (old,) = load_keys(file)

    def with_keys(*keys: bytes) -> Vault:
        file.write_bytes(b"\n".join(map(base64.b64encode, keys)))
        return Vault(store, load_keys(file), "one", "a")

    with with_keys(old).lease(FIRST) as leased:
        leased.replace("encrypted with the old key", None)
    new = secrets.token_bytes(32)
    with with_keys(new, old).lease(FIRST) as leased:
        assert leased.token() == "encrypted with the old key"
        leased.replace("encrypted with the new key", None)
    with with_keys(new).lease(FIRST) as leased:
        assert leased.token() == "encrypted with the new key"
    with pytest.raises(SourceError, match="another key"), with_keys(old).lease(FIRST):
        pass


def test_row_moved_to_another_cloud_is_refused(store: sa.Engine) -> None:
    rotate(store, "rotated")
    with store.begin() as connection:
        connection.execute(sa.update(refresh_tokens).values(cloud="two"))
    with (
        pytest.raises(SourceError, match="another key"),
        vault(store, cloud="two").lease("from the file"),
    ):
        pass


class RotatingProvider:
    """Accepts each token once; records a second use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._good = "from the file"
        self.uses = 0
        self.reused: list[str] = []

    def redeem(self, token: str) -> str:
        with self._lock:
            if token != self._good:
                self.reused.append(token)
            self.uses += 1
            self._good = f"token {self.uses}"
            return self._good


def test_many_services_never_use_a_token_twice(store: sa.Engine) -> None:
    provider = RotatingProvider()

    def service(number: int) -> int:
        mine, turns = vault(store, f"service {number}"), 0
        while turns < 10:
            try:
                with mine.lease("from the file") as leased:
                    leased.replace(provider.redeem(leased.token()), None)
                    turns += 1
            except SourceError:
                continue
        return turns

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(service, range(4))) == provider.uses == 40
    assert not provider.reused
