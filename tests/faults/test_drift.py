"""P9: 50 drifts of all kinds on 100 nodes are repaired within two snapshots while requests continue.

At this size, a script acts as slurmctld: it calls the real hooks and publishes snapshots.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.testbed.consumers import all_consume
from tests.testbed.scripted_slurm import ScriptedSlurm
from tests.testbed.waiting import until, until_none
from tests.testbed.whole_system import WORKERS, SystemPlan, WholeSystem
from workers.broker import topology

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODES, DRIFTS = 100, 50
INTERVAL = 12.0
# Long enough for each booted node to have had its time to register: a power-off waits for that.
STALE_AFTER = 10.0
KINDS = ("orphan", "dead", "broken", "ghost", "unasked")


@pytest.fixture
def system(run_dir: Path, broker_url: str) -> Iterator[WholeSystem]:
    plan = SystemPlan(
        nodes=NODES,
        more=f"[slurm]\nsnapshot_interval = {INTERVAL}\n[resync]\nenabled = true\ngrace = 0\n"
        f"stale_after = {STALE_AFTER}\n",
    )
    with WholeSystem(run_dir / "fleet", broker_url, plan, start=()) as running:
        for name in (*WORKERS, "resync"):
            running.worker(name)
        until(
            lambda: all_consume(running.settings, topology.SNAPSHOT_QUEUE),
            60,
            "the workers to consume their queues",
        )
        yield running


def test_drifts_are_repaired_within_two_snapshots_and_not_without_snapshots(
    system: WholeSystem,
) -> None:
    chance = random.Random(20261124)  # noqa: S311 - repeatable
    slurm = ScriptedSlurm(system)
    slurm.snapshot()
    slurm.call_hook(*system.nodes[:60], on=True)
    until(lambda: not slurm.wrong(), 60, "sixty nodes to be powered on")
    system.settle()

    drifted = chance.sample(system.nodes, DRIFTS)
    busy = [node for node in system.nodes if node not in drifted]
    kinds = [inject(slurm, node, chance) for node in drifted]
    assert set(kinds) == set(KINDS), Counter(kinds)
    began, injected = time.monotonic(), slurm.wrong()
    assert len(injected) >= DRIFTS // 2  # ghosts and unasked nodes may differ only in the store
    # without snapshots nothing is repaired, operators are notified, and hooks are served
    slurm.call_hook(*chance.sample(sorted(slurm.wanted & set(busy)), 5), on=False)
    until(lambda: not set(slurm.wrong()) - set(injected), 60, "the requests of the hooks")
    until(lambda: "alarm.no_snapshot" in notices(system), 60, "an alarm")
    assert slurm.wrong() == injected
    assert system.cloud.counts()["stop"] == 5
    result = system.operator("drift")
    assert (result.returncode, "no repair is requested" in result.stderr) == (3, True), result
    assert "STALE" in system.operator("status").stdout
    print(f"\nuntouched for {time.monotonic() - began:.1f} s without a snapshot")  # noqa: T201

    began = time.monotonic()
    for number in range(2):
        slurm.snapshot()
        due = began + (number + 1) * INTERVAL
        while time.monotonic() < due and still(slurm, drifted):
            node = chance.choice(busy)
            slurm.call_hook(node, on=node not in slurm.wanted)
    assert not still(slurm, drifted)
    print(f"{DRIFTS} drifts repaired in {time.monotonic() - began:.1f} s: {Counter(kinds)}")  # noqa: T201
    until(lambda: not slurm.wrong(), 60, "the requests of the hooks")
    until_none(lambda: system.broken(others_ask=True), 30, "broken promises")
    assert system.depths() == {}


def notices(system: WholeSystem) -> set[str]:
    """The types of the events in the audit log."""
    return {e.type.removeprefix("lamplighter.").removesuffix(".v1") for e in system.records()}


def still(slurm: ScriptedSlurm, drifted: list[str]) -> dict[str, str]:
    """The drifted nodes that are not as Slurm wants them."""
    return {node: status for node, status in slurm.wrong().items() if node in drifted}


def inject(slurm: ScriptedSlurm, node: str, chance: random.Random) -> str:
    """Make a node drift without any request; returns the kind of drift."""
    cloud, wanted = slurm.fleet.cloud, node in slurm.wanted
    kind = chance.choice(("dead", "broken", "ghost") if wanted else ("orphan", "unasked"))
    if kind == "dead":
        cloud.set_power(node, on=False)
    elif kind == "broken":
        cloud.change_servers(node, status="ERROR", fault="hypervisor lost")
    elif kind == "orphan":
        cloud.set_power(node, on=True)
    elif kind == "ghost":  # the suspend's hook was lost
        slurm.wanted.discard(node)
    else:  # the resume's hook was lost
        slurm.wanted.add(node)
    return kind
