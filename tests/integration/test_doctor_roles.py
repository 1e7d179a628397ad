"""`lamplighter doctor` gives no false alarm on a host that has one role's secrets only."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

from schemas.roles import Role
from tests.testbed.broker_roles import BrokerRoles
from tests.testbed.postgresql import grant_roles
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.whole_system import SystemPlan, WholeSystem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.broker import Broker
    from tests.testbed.postgresql import PostgreSQL

# One of each kind: sees all, only looks, works with and without tokens, has no database, has no worker.
_ROLES = (Role.OPERATOR, Role.READER, Role.POWER, Role.AUDIT, Role.HOOK)


def test_each_role_sees_its_part_without_a_false_alarm(
    run_dir: Path, broker: Broker, vhost: str, postgresql: PostgreSQL
) -> None:
    """With its own password at the broker and its own user in PostgreSQL, and nothing else."""
    roles = BrokerRoles(broker, vhost, run_dir / "site")
    plan = SystemPlan(store=postgresql.create_role_databases())
    grant_roles(plan.store)
    before = len(postgresql.log)
    with WholeSystem(run_dir / "site", broker.amqp_url(vhost), plan, roles=roles) as system:
        found: dict[Role, set[str]] = {}
        for role in _ROLES:
            host = run_dir / f"host-{role}"
            (host / "users").mkdir(parents=True)
            shutil.copy2(system.settings.path, host)
            shutil.copy2(roles.users.secret_file(role), host / "users")
            command = [*system.command("doctor", "--json")]
            command[command.index(system.settings.path)] = host / "lamplighter.toml"
            done = subprocess.run(
                command, env=dict(MINIMAL_ENVIRONMENT), capture_output=True, text=True, check=False
            )
            assert "Traceback" not in done.stderr, done.stderr
            findings = json.loads(done.stdout)["findings"]
            worst = {one["severity"] for one in findings} - {"note"}
            assert done.returncode == (3 if "away" in worst else 1 if worst else 0)
            found[role] = {
                f"{one['finding']}: {one['words']}" for one in findings if one["severity"] != "note"
            }
        false = {role: alarms - found[Role.OPERATOR] for role, alarms in found.items()}
        assert not any(false.values()), false
        assert found[Role.OPERATOR] == set()
    assert "password authentication failed" not in postgresql.log[before:]
