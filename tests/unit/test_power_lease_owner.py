"""Where the store is a file on this host, a worker sees at once that another one was killed."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from workers.store.lease_owner import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# On SQLite: only there a lease's owner holds a lock on a file.

# Prints its name, then runs until it is killed or its input ends.
LIVING = """
import sys
import sqlalchemy as sa
from workers.store.lease_owner import Owner
owner = Owner(sa.make_url(sys.argv[1]))
print(owner.name, flush=True)
sys.stdin.read()
owner.close()
"""


@pytest.fixture
def url(tmp_path: Path) -> sa.URL:
    return sa.make_url(f"sqlite:///{tmp_path}/state.db")


@pytest.fixture
def other(url: sa.URL) -> Iterator[subprocess.Popen[str]]:
    """The process of another worker."""
    with subprocess.Popen(
        [sys.executable, "-c", LIVING, url.render_as_string()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def name_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_living_process_is_not_dead(url: sa.URL, other: subprocess.Popen[str]) -> None:
    name = name_of(other)
    with closing(Owner(url)) as owner:
        assert not owner.is_dead(name)
        assert not owner.is_dead(name)


def test_every_other_worker_sees_that_a_process_was_killed(
    url: sa.URL, other: subprocess.Popen[str]
) -> None:
    name = name_of(other)
    with closing(Owner(url)) as first, closing(Owner(url)) as second:
        other.kill()
        other.wait()
        for owner in (first, second, first):
            assert owner.is_dead(name)


def test_a_worker_that_closed_in_order_does_not_count_as_killed(
    url: sa.URL, other: subprocess.Popen[str]
) -> None:
    name = name_of(other)
    other.communicate()
    with closing(Owner(url)) as owner:
        assert not owner.is_dead(name)


def test_the_check_of_a_living_process_does_not_take_its_lock(
    url: sa.URL, other: subprocess.Popen[str]
) -> None:
    name = name_of(other)
    with closing(Owner(url)) as first, closing(Owner(url)) as second:
        assert not first.is_dead(name)
        assert not second.is_dead(name)


def test_two_owners_in_one_process_both_count_as_living(url: sa.URL) -> None:
    with closing(Owner(url)) as first, closing(Owner(url)) as second:
        assert first.name != second.name
        assert not first.is_dead(first.name)
        assert not first.is_dead(second.name)


@pytest.mark.parametrize("name", ["never-was", "../state.db", "/etc/passwd"])
def test_an_unknown_name_does_not_count_as_killed(url: sa.URL, name: str) -> None:
    with closing(Owner(url)) as owner:
        assert not owner.is_dead(name)


@pytest.mark.parametrize("url", ["postgresql+psycopg://keeper@db.example/state", "sqlite://"])
def test_without_a_file_as_store_no_owner_counts_as_killed(url: str) -> None:
    with closing(Owner(sa.make_url(url))) as owner, closing(Owner(sa.make_url(url))) as other:
        assert not owner.is_dead(other.name)
        assert not owner.is_dead("1-gone")


def test_closing_leaves_no_file_behind_and_may_be_done_twice(url: sa.URL, tmp_path: Path) -> None:
    owner = Owner(url)
    owner.close()
    owner.close()
    assert list((tmp_path / "state.db.owners").iterdir()) == []
