"""`status` and `topology check` prove what the roles of their users may, and say what they may not."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from schemas.roles import Role
from tests.testbed.broker_roles import BrokerRoles
from tests.testbed.installation import Installation
from workers.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.broker import Broker


@pytest.fixture
def site(run_dir: Path, broker: Broker, vhost: str) -> Iterator[Installation]:
    """An installation with a user for each role, the topology, and stores."""
    roles = BrokerRoles(broker, vhost, run_dir / "site")
    api = f'management_url = "{broker.management_url}"'
    users = f'users = {{ folder = "users", prefix = "{roles.users.prefix}" }}'
    url = f"amqp://{broker.host}:{broker.port}/{quote(vhost, safe='')}"
    made = Installation(run_dir / "site", url, broker=f"{api}\n{users}")
    roles.apply(made.config)
    made.config.write_text(made.config.read_text().replace(api, ""))
    open_store(made.settings.store.url, "state").dispose()
    yield made
    roles.remove()


def findings(site: Installation) -> set[str]:
    (line,) = site.lamplighter("status", "--json").lines
    return {one["finding"] for one in line["findings"]}


def test_an_operators_status_proves_the_quorum_and_a_readers_says_that_it_cannot(
    site: Installation,
) -> None:
    found = findings(site)
    assert "workers_missing" in found
    assert not found & {"unavailable", "quorum_unknown", "one_broker_user"}
    users = site.settings.broker.users
    assert users is not None
    users.secret_file(Role.OPERATOR).unlink()
    found = findings(site)
    assert {"workers_missing", "quorum_unknown"} <= found
    assert "unavailable" not in found


def test_a_check_by_the_setup_user_proves_the_quorum(site: Installation) -> None:
    checked = site.lamplighter("topology", "check")
    assert (checked.code, checked.err) == (0, "")
    assert "checked existence only" in checked.out
    assert "users and permissions were not compared" in checked.out
