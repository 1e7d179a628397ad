"""Slurm's commands with a real slurmctld, the memory of nodes in both databases, and where `up` runs the worker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from producers.settings import ConfigError
from schemas.commands import Desired
from tests.testbed.installation import Installation
from tests.testbed.messages import MOMENT, command
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.config.settings import load
from workers.config.slurm_location import is_installed
from workers.slurm import node_memory
from workers.slurm.commands import SlurmAwayError
from workers.slurm.decide import RequestedState
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.scontrol import Slurm
from workers.store.database import open_store
from workers.store.lease_owner import Lease, Owner
from workers.store.nodes import NodeTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa

    from tests.testbed.slurm import PrivateSlurm
    from workers.config.settings import Settings

NAMES = [f"node{i}" for i in range(1, 13)]


def settings_beside(slurm: PrivateSlurm) -> Settings:
    return Installation(slurm.conf_dir, "amqp://me:secret@127.0.0.1:1/v").settings


def test_real_slurmctld_is_queried_and_updated(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm],
) -> None:
    """States by hostlist; addresses by position although names sort in two ways; refusals; outages."""
    slurm = slurm_factory(SlurmSettings(nodes=12, suspend_time=300))
    ctld = Slurm(settings_beside(slurm))
    assert "slurm" in ctld.version()
    assert set(ctld.nodes()) == set(NAMES)
    assert ctld.nodes()["node1"].powered_down
    assert set(ctld.nodes(["node1", "node3"])) == {"node1", "node3"}
    assert "node1" in ctld.nodes(["node1", "unknown1"])
    assert ctld.nodes([]) == {}

    addresses = {
        node: (f"127.0.0.{i}", "" if i % 2 else f"{node}.x") for i, node in enumerate(NAMES, 2)
    }
    assert ctld.set_addresses(addresses, list) == frozenset()
    states = ctld.nodes()
    assert {n: s.address for n, s in states.items()} == {n: p[0] for n, p in addresses.items()}
    assert {s.hostname for s in states.values()} == {p[1] or n for n, p in addresses.items()}

    unknown = "unknown1"
    down = ("State=DOWN", "Reason=lamplighter: a")
    assert ctld.update_nodes([*NAMES, unknown], *down, still_due=list) == {unknown}
    assert {s.base for s in ctld.nodes().values()} == {"DOWN"}
    assert ctld.nodes()["node7"].reason == "lamplighter: a"

    job_id = slurm.sbatch("#!/bin/sh\ntrue\n", begin="now+1hour")
    assert ctld.jobs([job_id, 99_999])[job_id].state == "PENDING"
    assert ctld.jobs([99_999]) == {}
    ctld.start_now([job_id, 99_999])
    until(
        lambda: "1hour" not in slurm.scontrol("show", "job", str(job_id)), 5, "its new start time"
    )

    slurm.stop_ctld()
    for call in (
        ctld.nodes,
        lambda: ctld.jobs([1]),
        lambda: ctld.update_nodes(["node1"], "Reason=b", still_due=list),
    ):
        with pytest.raises(SlurmAwayError):
            call()


def test_up_finds_slurms_commands_and_configuration(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_CONF", raising=False)
    site = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v")
    assert not is_installed(site.settings)
    (site.folder / "slurm.conf").touch()
    assert is_installed(site.settings)
    site.config.write_text(site.config.read_text() + '[slurm]\nbin = "nowhere"\n')
    elsewhere = load(site.config)
    assert not is_installed(elsewhere)
    with pytest.raises(ConfigError, match=r"slurm\.bin"):
        Slurm(elsewhere)
    result = site.lamplighter("worker", "slurm")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "slurm.bin" in result.err


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def test_memories_are_stored_and_each_due_entry_goes_to_one_worker(
    store: sa.Engine,
) -> None:
    one = NodeMemory(
        "node1", MOMENT, 2, Due.RETURN, 200, "quota", "lamplighter: quota", 100, (1, 2)
    )
    two = NodeMemory("node2", MOMENT, 0, Due.GIVE_BACK, 150, "network", "lamplighter: network")
    with store.begin() as connection:
        node_memory.remember(connection, "test", [one, two])
        node_memory.remember(connection, "other", [replace(one, due_at=1)])
        node_memory.remember(connection, "test", [])
        assert node_memory.recall(connection, "test", ["node1", "node3"]) == {"node1": one}
        assert node_memory.returning(connection, "test") == [one]
        newer = replace(one, generation=MOMENT + 1, failures=3)
        node_memory.remember(connection, "test", [newer])
        assert node_memory.recall(connection, "test", ["node1"]) == {"node1": newer}
        assert node_memory.claim(connection, "test", 149, 999) == []
        assert node_memory.claim(connection, "test", 200, 300) == [two, newer]
        assert node_memory.claim(connection, "test", 200, 300) == []
    with store.begin() as connection:
        again = [replace(newer, due_at=300), replace(two, due_at=300)]
        assert node_memory.claim(connection, "test", 300, 400) == again
        node_memory.forget(connection, "test", ["node1", "node2"])
        assert node_memory.claim(connection, "test", 10**18, 10**18) == []
        assert len(node_memory.claim(connection, "other", 10**18, 10**18)) == 1


def test_node_is_leased_only_while_a_power_worker_works_on_it(
    store: sa.Engine,
) -> None:
    owner = Owner(store.url)
    lease = Lease(owner, 60.0, settling=5.0)
    try:
        with store.begin() as connection:
            table = NodeTable(store, "test", lease)
            table.accept(connection, [command()], MOMENT)
            row = node_memory.requested_states(connection, "test", ["node1", "node2"])
            assert row == {"node1": RequestedState(Desired.UP, MOMENT, leased=True)}
            table.release(connection, ["node1"])
            row = node_memory.requested_states(connection, "test", ["node1"])
            assert row == {"node1": RequestedState(Desired.UP, MOMENT)}
    finally:
        owner.close()
