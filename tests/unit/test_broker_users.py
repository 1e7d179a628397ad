"""The roles' users: no other cluster's are taken, and root on the broker's host needs no login."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self

import pytest
from click.testing import CliRunner

from ops.cli.main import cli
from ops.cli.session import Session
from ops.doctor.roles import of_permissions
from ops.install.cloud_entry import CloudEntry
from ops.install.site import Site
from ops.install.slurm_conf import SlurmConf
from ops.site import broker_users
from ops.site.broker_users import require_own
from ops.site.held import HeldLogins, HeldPermission, HeldUser
from ops.site.kinds import Kind
from producers.broker_settings import BrokerUsers
from producers.settings import ConfigError
from schemas.roles import Role
from workers.broker.definitions import definitions, is_hash_of
from workers.broker.topology import topology
from workers.process import programs

if TYPE_CHECKING:
    from pathlib import Path


def users_of(folder: Path, prefix: str = "lamplighter-") -> BrokerUsers:
    folder.mkdir(exist_ok=True)
    users = BrokerUsers(folder, prefix)
    for role in Role:
        users.secret_file(role).write_text(f"{folder.name}-{role}")
        users.secret_file(role).chmod(0o600)
    return users


def held_after(users: BrokerUsers, vhost: str) -> HeldLogins:
    """What a broker has after the set-up of a cluster."""
    passwords = {role: users.secret_file(role).read_text() for role in Role}
    made = definitions(users, vhost, topology(), passwords)
    return HeldLogins(
        [HeldUser(one["name"], one["tags"], one["password_hash"]) for one in made["users"]],
        [HeldPermission(**one) for one in made["permissions"]],
    )


def test_the_users_of_another_cluster_keep_their_passwords(run_dir: Path) -> None:
    first, second = users_of(run_dir / "first"), users_of(run_dir / "second")
    held = held_after(first, "one")
    with pytest.raises(ConfigError, match=r"virtual host one, .*prefix = \"lamplighter-two-\""):
        require_own(second, "two", held)
    require_own(users_of(run_dir / "second", "lamplighter-two-"), "two", held)
    require_own(first, "two", held)  # the same cluster, which moves to another virtual host
    require_own(second, "one", held)  # its passwords are being replaced


@pytest.mark.parametrize("uid", [0, 1000])
def test_root_finds_the_programs_of_root_also_after_su_without_a_dash(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    """Such a su keeps the user's PATH: rabbitmqctl, or what it runs, would seem not to be installed."""
    users_of(run_dir / "users")
    config = run_dir / "lamplighter.toml"
    config.write_text(
        'cluster = "c"\n[broker]\nurl = "amqp://127.0.0.1/v"\n[broker.users]\nfolder = "users"\n'
    )
    sbin = run_dir / "sbin"
    sbin.mkdir()
    for name, script in {
        "rabbitmqctl": "program-of-root $2",
        "program-of-root": f"echo $1 >>{run_dir}/ran; echo []",
    }.items():
        (sbin / name).touch(mode=0o755)
        (sbin / name).write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(programs, "_OF_ROOT", (str(sbin),))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = {finding.kind for finding in of_permissions(Session(config))}
    applied = CliRunner().invoke(cli, ["--config", str(config), "broker", "users", "--apply"])
    if uid == 0:
        assert Kind.PERMISSIONS in found
        assert applied.exit_code == 0, applied.output
        lists = {"list_users", "list_permissions", "list_topic_permissions", "list_bindings"}
        ran = set((run_dir / "ran").read_text().split())
        assert ran == lists | {"export_definitions", "import_definitions"}
    else:
        assert found == {Kind.PERMISSIONS_UNKNOWN}
        assert "run it as root on the broker's host" in str(applied.exception)
        assert not (run_dir / "ran").exists()


class Management:
    """The management API of a broker that has these users."""

    def __init__(self, held: HeldLogins) -> None:
        self._held = held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, path: str, _shape: object) -> object:
        return getattr(self._held, path)


@pytest.mark.parametrize(("vhost", "refused"), [("one", True), ("two", False)])
def test_definitions_are_looked_at_before_they_are_printed(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, vhost: str, *, refused: bool
) -> None:
    """With an administrator's login; without one the command says that nobody has looked."""
    held = held_after(users_of(run_dir / "first"), vhost)
    users_of(run_dir / "second")
    monkeypatch.setattr(broker_users, "ManagementApi", lambda *_: Management(held))
    config = run_dir / "lamplighter.toml"
    config.write_text(
        'cluster = "two"\n[broker]\nurl = "amqp://127.0.0.1/two"\n'
        'management_url = "http://127.0.0.1:15672"\n[broker.users]\nfolder = "second"\n'
    )
    words = ["--config", str(config), "broker", "users", "--definitions"]
    checked = CliRunner().invoke(cli, [*words, "--admin", "root"], input="pw")
    assert (checked.exit_code != 0, not checked.stdout) == (refused, refused)
    assert ("belongs to virtual host one" in str(checked.exception)) is refused
    assert "not checked" not in checked.stderr
    unchecked = CliRunner().invoke(cli, words)
    assert unchecked.exit_code == 0
    assert len(json.loads(unchecked.stdout)["users"]) == len(Role)
    assert "not checked: if another cluster" in unchecked.stderr


def test_a_hash_is_of_its_password_only(run_dir: Path) -> None:
    hashes = {one.name: one.password_hash for one in held_after(users_of(run_dir), "v").users}
    hashed = hashes["lamplighter-hook"]
    assert is_hash_of(hashed, f"{run_dir.name}-hook")
    assert not any(is_hash_of(one, "x") for one in (hashed, "", "AA", "no base64!"))


@pytest.mark.parametrize(
    ("vhost", "prefix"),
    [("lamplighter", ""), ("vespa", 'prefix = "lamplighter-vespa-"\n'), ("%2F", "")],
)
def test_init_names_the_users_after_the_virtual_host(
    run_dir: Path, vhost: str, prefix: str
) -> None:
    entry = CloudEntry("c", {}, {}, "s", None, ())
    conf = SlurmConf(run_dir / "slurm.conf")
    url = f"amqp://127.0.0.1:5672/{vhost}"
    assert Site(conf, entry, url, "node1", "stop", {}, run_dir).prefix == prefix
