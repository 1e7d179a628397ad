"""On a host that `lamplighter init` has set up, SlurmUser uses the state store and only reads the audit log."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from ops.doctor.access import User
from ops.doctor.host import of_stores
from ops.install import units
from ops.install.toml import lamplighter_toml
from tests.unit.test_install import folder, site
from workers.audit.heads import Head, export_head
from workers.audit.signing import load_signer
from workers.config.settings import load
from workers.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workers.config.settings import Settings

# On SQLite: the modes of SQLite's files.

__all__ = ["folder"]

# Users and the group of tmpfiles.d, with ids that nobody has on this host.
IDS = {"root": 0, "lamplighter": 64_101, "lamplighter-tokens": 64_102, "slurm": 64_103}
GROUP = 64_104
SLURM = User("slurm", IDS["slurm"], frozenset({GROUP}))


@pytest.fixture
def host(run_dir: Path) -> Path:
    """A root folder with what tmpfiles.d of `init` creates on slurmctld's host."""
    assert os.geteuid() == 0, "run as root: users of their own use the stores"
    for line in units.tmpfiles("slurm").splitlines():
        kind, name, mode, owner, _ = line.split()
        path = run_dir / name.lstrip("/")
        if kind == "d":
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.touch()
        os.chown(path, IDS[owner], GROUP)
        path.chmod(int(mode, 8))
    return run_dir


def as_user(name: str, act: Callable[[], object]) -> str:
    """What a process of this user and our group gets: "done", or the name of its error."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(IDS[name])
            os.umask(0o007)
            act()
            os.write(writer, b"done")
        except BaseException as error:  # noqa: BLE001 - its name is the answer
            os.write(writer, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read().decode()


def write(file: Path, table: str) -> None:
    """Write to a store, as its workers do."""
    with closing(sqlite3.connect(file)) as store, store:
        store.execute(f"delete from {table}")  # noqa: S608 - a name of this test


def read(file: Path) -> None:
    """Read the audit log, as commands do."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
        store.execute("select count(*) from audit")


@pytest.fixture
def settings(host: Path, folder: Path) -> Settings:
    """What `init` has written, its paths below `host`."""
    text = lamplighter_toml(site(folder))
    for name in (units.AUDIT, f"{units.STATE}/"):
        text = text.replace(str(name), f"{host}{name}")
    path = folder / "lamplighter.toml"
    path.write_text(text)
    path.chmod(0o600)
    return load(path, {})


def test_slurm_user_uses_the_state_store_and_cannot_change_the_audit_log(
    host: Path, settings: Settings
) -> None:
    """Neither the database, nor what SQLite has beside it, nor the folder; it reads while the worker runs."""
    state, audit = host / "var/lib/lamplighter/state.db", host / "var/lib/lamplighter-audit"
    open_store(settings.store.url, "state").dispose()
    open_store(settings.store.audit_url, "audit").dispose()
    for user in ("slurm", "lamplighter", "lamplighter-tokens", "slurm"):
        assert as_user(user, lambda: write(state, "workers")) == "done", user
    assert as_user("lamplighter", lambda: write(audit / "audit.db", "audit")) == "done"
    for user in ("slurm", "lamplighter-tokens"):
        told = as_user(user, lambda: write(audit / "audit.db", "audit"))
        assert told == "OperationalError", user
    head = Head(1, "00", "2026-01-01T00:00:00Z", {})
    creations = (
        lambda: load_signer(settings.audit.key_file),
        lambda: export_head(settings.audit.heads_file, head),
    )
    for create in creations:
        assert as_user("slurm", create) == "ConfigError"
        assert as_user("lamplighter", create) == "done"
    with closing(sqlite3.connect(audit / "audit.db")) as worker:
        worker.execute("select count(*) from audit")
        names = {path.name for path in audit.iterdir()}
        keys = {"audit.key", "audit.key.pub"}
        assert names == {"audit.db", "audit.db-wal", "audit.db-shm", "audit.heads", *keys}
        for name in names:
            path = audit / name
            assert as_user("slurm", partial(os.open, path, os.O_WRONLY)) == "PermissionError", name
            assert as_user("slurm", path.unlink) == "PermissionError", name
        assert (
            as_user("slurm", lambda: audit.rename(host / "var/lib/lamplighter/x"))
            == "PermissionError"
        )
        assert as_user("slurm", lambda: read(audit / "audit.db")) == "done"


def test_doctor_says_what_slurm_user_can_change_past_its_roles(
    host: Path, settings: Settings
) -> None:
    """The SQLite state store always; an audit log where 0.1.0 had it too, and none that init has made."""
    (state,) = of_stores(settings, SLURM)
    assert "store.url: slurm, as whom the hooks run, can change" in state.text
    assert "PostgreSQL" in (state.remedy or "")
    old = host / "var/lib/lamplighter/audit.db"
    old.touch()
    os.chown(old, IDS["lamplighter"], GROUP)
    old.chmod(0o640)  # its folder is open to SlurmUser
    moved = structs.replace(
        settings, store=structs.replace(settings.store, audit_url=f"sqlite:///{old}")
    )
    _, log = of_stores(moved, SLURM)
    assert "store.audit_url: slurm, as whom the hooks run, can change" in log.text
    assert str(units.AUDIT) in (log.remedy or "")
    owner = User("lamplighter", IDS["lamplighter"], frozenset({GROUP}))
    assert list(of_stores(settings, owner)) == []
    assert list(of_stores(settings)) == []
