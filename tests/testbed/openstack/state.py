"""The stored state of the seeded cloud: made once, kept in the cache, copied for each run.

The databases contain the cloud's addresses; the stored state has placeholders instead.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tests.testbed.docker.locks import exclusive
from tests.testbed.openstack.layout import ADMIN_PASSWORD, Layout, PortMap
from tests.testbed.openstack.seed import seed_compute, seed_identity
from tests.testbed.openstack.stack import Stack
from tests.testbed.ports import Ports
from tests.testbed.processes import MINIMAL_ENVIRONMENT
from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from tests.testbed.openstack.database import Database
    from tests.testbed.openstack.packages import Software

Command: TypeAlias = list[str | Path]

HERE = Path(__file__).parent
KEPT_UNUSED_SECONDS = 7 * 86400.0
SOURCES = (
    *(HERE / name for name in ("configuration.py", "layout.py", "seed.py", "state.py")),
    *(HERE.parent / "simcloud" / name for name in ("credentials.py", "flavors.py")),
)
"""A change in one of these asks for a new state."""

ADDRESSES = (
    ("keystone.endpoint", "url"),
    ("keystone.idp_remote_ids", "remote_id"),
    ("keystone.mapping", "rules"),
    ("glance.image_locations", "value"),
)
"""Where the databases hold addresses of this cloud: tables and columns."""


def restore(software: Software, layout: Layout) -> None:
    """Fill `layout.state` with a copy of the seeded state; make that state first if needed.

    Raises:
        RuntimeError: An OpenStack program failed; the message holds its output.
    """
    kept = software.root / f"state-{_version()}"
    with exclusive(software.root / "state.lock"):
        if not kept.exists():
            _make(software, kept)
        kept.touch()
        _forget_unused(software.root)
        shutil.copytree(kept, layout.state, dirs_exist_ok=True)


def arrive(database: Database, layout: Layout) -> None:
    """Write the current addresses and times into the databases of a restored state."""
    _replace(database, {rest: here for here, rest in _addresses(layout).items()})
    # Nova regards a compute node with an old heartbeat as down until the next heartbeat.
    database.execute("UPDATE nova.services SET last_seen_up = UTC_TIMESTAMP()")


def _leave(database: Database, layout: Layout) -> None:
    _replace(database, _addresses(layout))


def _addresses(layout: Layout) -> dict[str, str]:
    """Return the placeholder of each of this layout's addresses."""
    urls = {layout.url(name): f"http://{name}.invalid" for name in asdict(layout.ports)}
    return urls | {str(layout.state): "/state.invalid"}


def _replace(database: Database, changes: dict[str, str]) -> None:
    database.execute(
        *(
            f"UPDATE {table} SET {column} = REPLACE({column}, '{old}', '{new}')"  # noqa: S608 - all ours
            for table, column in ADDRESSES
            for old, new in changes.items()
        )
    )


def _version() -> str:
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _forget_unused(root: Path) -> None:
    """Remove states of other versions that have not been used lately."""
    for state in root.glob("state-*"):
        if time.time() - state.stat().st_mtime > KEPT_UNUSED_SECONDS:
            shutil.rmtree(state)


def _make(software: Software, kept: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="openstack-") as folder, Ports() as ports:
        layout = Layout(Path(folder), PortMap.take(ports), software.venv, software.oidc)
        with Stack(layout) as stack:
            _create_schemas(layout)
            stack.start_identity()
            seed_identity(layout)
            stack.start_all()
            until(lambda: _discover_host(layout), 60.0, "nova-compute's first report")
            seed_compute(layout)
            stack.services.stop()
            _leave(stack.database, layout)
        # Moved in one step, because another run may look for it at any time.
        partial = kept.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(layout.state, partial)
        partial.rename(kept)


def _create_schemas(layout: Layout) -> None:
    with ThreadPoolExecutor() as pool:
        works = [pool.submit(work, layout) for work in (_keystone, _nova, _placement, _glance)]
        for work in works:
            work.result()


def _keystone(layout: Layout) -> None:
    user = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
    manage: Command = ["keystone-manage", "--config-dir", layout.etc / "keystone"]
    _run(layout, [*manage, "fernet_setup", *user])
    _run(layout, [*manage, "credential_setup", *user])
    _run(layout, [*manage, "db_sync"])
    bootstrap = {
        "OS_BOOTSTRAP_PASSWORD": ADMIN_PASSWORD,
        "OS_BOOTSTRAP_REGION_ID": credentials.REGION,
        "OS_BOOTSTRAP_ADMIN_URL": layout.auth_url,
        "OS_BOOTSTRAP_PUBLIC_URL": layout.auth_url,
        "OS_BOOTSTRAP_INTERNAL_URL": f"{layout.url('keystone_wsgi')}/v3",
    }
    _run(layout, [*manage, "bootstrap"], bootstrap)


def _nova(layout: Layout) -> None:
    # Nova fills these in from its configuration; ports and passwords change with each run.
    broker = "{scheme}://{username}:{password}@{hostname}:{port}/"
    cell0, cell1 = f"{broker}nova_cell0", f"{broker}nova"
    manage = _nova_manage(layout)
    _run(layout, [*manage, "api_db", "sync"])
    _run(layout, [*manage, "cell_v2", "map_cell0", "--database_connection", cell0])
    create = ["cell_v2", "create_cell", "--name", "cell1", "--transport-url", broker]
    _run(layout, [*manage, *create, "--database_connection", cell1])
    _run(layout, [*manage, "db", "sync"])


def _placement(layout: Layout) -> None:
    manage: Command = ["placement-manage", "--config-dir", layout.etc / "placement"]
    _run(layout, [*manage, "db", "sync"])


def _glance(layout: Layout) -> None:
    _run(layout, ["glance-manage", "--config-dir", layout.etc / "glance", "db_sync"])


def _discover_host(layout: Layout) -> bool:
    command = [*_nova_manage(layout), "cell_v2", "discover_hosts", "--verbose"]
    return "Creating host mapping" in _run(layout, command)


def _nova_manage(layout: Layout) -> Command:
    return ["nova-manage", "--config-dir", layout.etc / "nova"]


def _run(layout: Layout, command: Command, environment: dict[str, str] | None = None) -> str:
    program, *arguments = command
    done = subprocess.run(
        [layout.venv / "bin" / program, *arguments],
        env=MINIMAL_ENVIRONMENT
        | {"PYTHONWARNINGS": "ignore", "HOME": str(layout.run)}
        | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
