"""`lamplighter doctor` looks at the broker, and `--fix` creates what it lacks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from ops.cli.session import Session
from ops.doctor.command import fixed
from schemas.roles import Role
from tests.testbed.broker_roles import BrokerRoles
from tests.testbed.commands import run_command
from tests.testbed.installation import Installation
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.rabbitmq_node import SCRIPTS
from workers.broker import topology

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.testbed.broker import PrivateBroker


def _found(site: Installation, *words: str) -> dict[str, str]:
    """The findings' words by key."""
    (line,) = site.lamplighter("doctor", "--json", *words).lines
    return {one["finding"]: one["words"] for one in line["findings"]}


def test_fix_creates_what_the_broker_lacks(run_dir: Path, broker_url: str) -> None:
    site = Installation(run_dir / "site", broker_url)
    site.make_hook_folders()
    before = _found(site)
    assert topology.RESUME_QUEUE in before["queues_missing"]
    assert before["topology"].startswith("exchange ")

    result = site.lamplighter("doctor", "--fix")
    assert result.err.count("fixed: lamplighter topology apply") == 1
    after = _found(site)
    assert {"queues_missing", "topology", "broker", "broker_version"}.isdisjoint(after)


def test_what_cannot_be_fixed_is_said_with_the_reason(run_dir: Path) -> None:
    site = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/nobody")
    line = fixed(Session(site.config), ("lamplighter", "topology", "apply"))
    assert line.startswith("NOT fixed: lamplighter topology apply: ")
    assert "the broker does not answer" in line


def with_roles(run_dir: Path, broker: PrivateBroker) -> tuple[BrokerRoles, Path, Mapping[str, str]]:
    """A virtual host with a user for each role; the configuration; the environment of commands."""
    roles = BrokerRoles(broker, broker.create_vhost(), run_dir)
    config = run_dir / "lamplighter.toml"
    config.write_text(f'cluster = "c"\n{roles.table}\n')
    config.chmod(0o600)
    roles.apply(config)
    environment = {**MINIMAL_ENVIRONMENT, **broker.node.environment()}
    return roles, config, {**environment, "PATH": f"{SCRIPTS}:{environment['PATH']}"}


def test_the_definitions_are_loaded_as_init_says(
    run_dir: Path, private_broker: PrivateBroker
) -> None:
    """From standard input: Debian's rabbitmqctl, as user rabbitmq in another folder, opens no file of root's."""
    roles, config, environment = with_roles(run_dir, private_broker)
    roles.remove()
    made = run_command(["--config", config, "broker", "users", "--definitions"])
    (run_dir / "definitions.json").write_text(made.stdout)
    line = "rabbitmqctl import_definitions /dev/stdin < definitions.json"
    subprocess.run(["/bin/sh", "-c", line], env=environment, cwd=run_dir, check=True)
    for role in (Role.HOOK, Role.SETUP):
        with roles.connection(role):
            pass


def test_a_role_that_cannot_log_in_or_lacks_a_right_is_named(
    run_dir: Path, private_broker: PrivateBroker
) -> None:
    """As root on the broker's host: a wrong password, a lost permission, a lost tag."""
    roles, config, environment = with_roles(run_dir, private_broker)

    def found() -> set[tuple[str, str]]:
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli.main", "--config", str(config), "doctor", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        findings = json.loads(done.stdout)["findings"]
        keys = {"role_login", "permissions", "permissions_unknown", "management_unknown"}
        return {(one["finding"], one["words"]) for one in findings if one["finding"] in keys}

    assert found() == set()
    users = roles.users
    private_broker.ctl("clear_permissions", "-p", roles.vhost, users.name(Role.RESYNC))
    private_broker.ctl("set_user_tags", users.name(Role.POWER), "administrator")
    users.secret_file(Role.AUDIT).write_text("another\n")
    words = found()
    refused = {text.split()[5].rstrip(":") for key, text in words if key == "role_login"}
    assert refused == {"audit", "resync"}
    lost = {text.partition(" is ")[0] for key, text in words if key == "permissions"}
    assert f"user {users.name(Role.RESYNC)}: write" in lost
    assert f"user {users.name(Role.POWER)}: tags" in lost
    assert len({text.split()[1] for key, text in words if key == "permissions"}) == 2


def test_a_webhook_whose_events_no_queue_gets_is_named_without_the_management_api(
    run_dir: Path, private_broker: PrivateBroker
) -> None:
    """A worker may not bind its queue: after a new webhook, somebody must."""
    roles, config, environment = with_roles(run_dir, private_broker)
    table = re.sub(r'management_url = "[^"]*", ', "", roles.table)

    def found(events: str) -> list[str]:
        webhook = f'[[notify.webhook]]\nname = "m"\nurl = "https://h/x"\nevents = [{events}]\n'
        config.write_text(f'cluster = "c"\n{table}\n{webhook if events else ""}')
        words = [sys.executable, "-m", "ops.cli.main", "--config", str(config), "doctor", "--json"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        findings = json.loads(done.stdout)["findings"]
        return [one["words"] for one in findings if one["finding"] == "topology"]

    assert found("") == []
    assert found('"failed"') == ["binding power.events -> notify by 'node.request.failed': missing"]
