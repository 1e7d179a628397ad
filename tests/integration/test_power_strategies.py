"""Whole workers on a real broker: each strategy lights its nodes and puts them out."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.testbed.consumers import all_consume
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.waiting import until
from workers.audit.queries import Filter, find
from workers.settings import Settings, load
from workers.store.engine import connect, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


class Fleet:
    """Three groups, one a strategy, two nodes each, on one simulated cloud."""

    def __init__(self, folder: Path, broker_url: str, stack: ExitStack) -> None:
        self.cloud = stack.enter_context(SimCloud())
        self.cloud.set(boot_seconds=0.5, stop_seconds=0.3, shelve_seconds=0.3)
        self.cloud.add_servers(["stop1", "stop2", "shelve1", "shelve2"])
        folder.mkdir(parents=True, exist_ok=True)
        secret = folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text(credentials.PASSWORD)
        (folder / "user-data").write_text("#cloud-config\nhostname: $node\n")
        config = folder / "lamplighter.toml"
        config.touch(mode=0o600)
        groups = "".join(
            f'[groups.{name}]\nnodes = "{name}[1-2]"\ncloud = "sim"\nstrategy = "{name}"\n'
            "boot_timeout = 20\ndeploy_wait = 0.5\n"
            for name in ("stop", "shelve", "delete")
        )
        template = (
            'image = "6b1ba8ac-4c8c-4b6c-9a05-0a7d3a0a2c11"\nflavor = "m1.tiny"\nnetworks = ["none"]\n'
            'user_data_file = "user-data"\n'
        )
        config.write_text(
            f'cluster = "test"\nbroker = {{ url = "{broker_url}" }}\n'
            'hooks = { spool = "spool", state = "clock" }\n'
            'store = { url = "sqlite:///state.db", audit_url = "sqlite:///audit.db" }\n'
            f'[clouds.sim]\nauth_url = "{self.cloud.auth_url}"\n'
            f'project_id = "{credentials.PROJECT_ID}"\n'
            f'source = {{ type = "password", username = "{credentials.USERNAME}", '
            'password_file = "secret" }\n'
            f"{groups}[groups.delete.server]\n{template}"
            '[groups.more]\nnodes = "more[1-2]"\ncloud = "sim"\ndeploy_wait = 0.5\n'
            f"[groups.more.server]\n{template}"
        )
        self.settings: Settings = load(config)
        for name in ("tokens", "audit", "power"):
            stack.enter_context(
                Child(
                    [sys.executable, "-m", "ops.cli", "--config", config, "worker", name],
                    log=folder / f"{name}.log",
                    cwd=ROOT,
                )
            )
        until(lambda: all_consume(self.settings), 60, "the workers to consume")

    def ask(self, what: str, nodes: str) -> list[str]:
        """Call a hook and wait for the outcomes of its requests."""
        before = len(self.outcomes())
        subprocess.run(
            [PROGRAMS / f"lamplighter-{what}", nodes],
            env={**MINIMAL_ENVIRONMENT, "LAMPLIGHTER_CONFIG": str(self.settings.path)},
            check=True,
            cwd=ROOT,
        )
        count = 2 * (nodes.count(",") + 1)
        until(lambda: len(self.outcomes()) >= before + count, 60, f"{count} outcomes of {nodes}")
        return self.outcomes()[before:]

    def outcomes(self) -> list[str]:
        """All terminal happenings, in order."""
        engine = connect(self.settings.store.audit_url)
        try:
            with reading(engine) as connection:
                terminal = ("completed", "superseded", "failed", "discarded")
                entries = find(connection, Filter(happenings=terminal, limit=1000))
        finally:
            engine.dispose()
        return [str(entry.happening) for entry in entries]

    def statuses(self) -> dict[str, str]:
        """Each server's status at rest."""
        return {
            name: server.status if server.task_state is None else str(server.task_state)
            for name, server in self.cloud.servers().items()
        }


@pytest.fixture
def fleet(run_dir: Path, broker_url: str) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(run_dir / "fleet", broker_url, stack)


def test_each_strategy_lights_and_puts_out_with_one_call_a_node(fleet: Fleet) -> None:
    everything = "stop[1-2],shelve[1-2],delete[1-2]"
    assert set(fleet.ask("resume", everything)) == {"completed"}
    assert set(fleet.statuses().values()) == {"ACTIVE"}
    assert set(fleet.statuses()) == {f"{s}{n}" for s in ("stop", "shelve", "delete") for n in "12"}

    assert set(fleet.ask("suspend", everything)) == {"completed"}
    assert fleet.statuses() == {
        "stop1": "SHUTOFF",
        "stop2": "SHUTOFF",
        "shelve1": "SHELVED_OFFLOADED",
        "shelve2": "SHELVED_OFFLOADED",
    }
    assert set(fleet.ask("resume", "shelve[1-2],delete[1-2]")) == {"completed"}
    counts = fleet.cloud.counts()
    wanted = {"start": 4, "stop": 2, "shelve": 2, "unshelve": 2, "create": 4, "delete": 2}
    assert {kind: counts[kind] for kind in wanted} == wanted
    tags = fleet.cloud.servers()["delete1"].metadata
    assert (tags["lamplighter_cluster"], tags["lamplighter_node"]) == ("test", "delete1")
