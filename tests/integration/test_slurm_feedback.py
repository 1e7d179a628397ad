"""Slurm's commands on a real slurmctld, what the store keeps on both kinds, and where `up` runs it."""

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
from workers.power import desired_state
from workers.power.lease_owner import Owner
from workers.slurm import node_memory
from workers.slurm.decide import Newest
from workers.slurm.node_memory import Due, NodeMemory
from workers.slurm.scontrol import Slurm, SlurmAwayError
from workers.store.database import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa

    from tests.testbed.slurm import PrivateSlurm
    from workers.config.settings import Settings

NAMES = [f"node{i}" for i in range(1, 13)]


def settings_beside(slurm: PrivateSlurm) -> Settings:
    return Installation(slurm.conf_dir, "amqp://me:secret@127.0.0.1:1/v").settings


def test_a_real_slurmctld_is_told_and_asked(
    slurm_factory: Callable[[SlurmSettings], PrivateSlurm],
) -> None:
    """States by hostlist; addresses node by node though names sort in two ways; refusals; absence."""
    slurm = slurm_factory(SlurmSettings(nodes=12, suspend_time=300))
    told = Slurm(settings_beside(slurm))
    assert "slurm" in told.version()
    assert set(told.nodes()) == set(NAMES)
    assert told.nodes()["node1"].out

    places = {
        node: (f"127.0.0.{i}", "" if i % 2 else f"{node}.x") for i, node in enumerate(NAMES, 2)
    }
    assert told.set_addresses(places) == frozenset()
    shown = told.nodes()
    assert {n: s.address for n, s in shown.items()} == {n: p[0] for n, p in places.items()}
    assert {s.hostname for s in shown.values()} == {p[1] or n for n, p in places.items()}

    nobody = "nobody1"
    assert told.update_nodes([*NAMES, nobody], "State=DOWN", "Reason=lamplighter: a") == {nobody}
    assert {s.base for s in told.nodes().values()} == {"DOWN"}
    assert told.nodes()["node7"].reason == "lamplighter: a"

    job_id = slurm.sbatch("#!/bin/sh\ntrue\n", begin="now+1hour")
    assert told.jobs([job_id, 99_999])[job_id].state == "PENDING"
    assert told.jobs([99_999]) == {}
    told.start_now([job_id, 99_999])
    until(lambda: "1hour" not in slurm.scontrol("show", "job", str(job_id)), 5, "its new begin")

    slurm.stop_ctld()
    for ask in (
        told.nodes,
        lambda: told.jobs([1]),
        lambda: told.update_nodes(["node1"], "Reason=b"),
    ):
        with pytest.raises(SlurmAwayError):
            ask()


def test_up_tells_slurm_where_its_commands_and_configuration_are(
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
    said = site.lamplighter("worker", "slurm")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "slurm.bin" in said.err


@pytest.fixture
def store(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "state")
    yield engine
    engine.dispose()


def test_what_is_remembered_comes_back_and_each_entry_is_due_to_one_worker(
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


def test_a_node_is_leased_only_while_a_power_worker_is_at_it(
    store: sa.Engine,
) -> None:
    owner = Owner(store.url)
    try:
        with store.begin() as connection:
            desired_state.accept(connection, "test", [command()], owner, 60.0, 5.0)
            row = node_memory.newest(connection, "test", ["node1", "node2"])
            assert row == {"node1": Newest(Desired.UP, MOMENT, leased=True)}
            desired_state.release(connection, "test", ["node1"], owner)
            row = node_memory.newest(connection, "test", ["node1"])
            assert row == {"node1": Newest(Desired.UP, MOMENT)}
    finally:
        owner.close()
