"""`dead-letters show` reads the state store, Slurm, and the cloud through the token service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from producers.amqp import connection_parameters
from tests.testbed.messages import command, dead_letter
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.token_site import TokenSite, serving
from workers.broker.blocking import blocking_channel
from workers.broker.topology import TOKEN_QUEUE
from workers.config.settings import load
from workers.store.database import open_store
from workers.store.tables import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As Slurm 24.11 prints them.
SCONTROL = """#!/bin/sh
echo 'NodeName=node1 Arch=x86_64 NodeAddr=node1 NodeHostName=node1 State=DOWN+CLOUD+POWERED_DOWN Reason=it broke [root@2026-01-02T03:04:05]'
"""
SQUEUE = """#!/bin/sh
for word; do
  case $word in --Format=*) mark=${word#*:}; mark=${mark%%,*} ;; esac
done
for field in 4711 PENDING '' 1 1 1 user 0 script cloud None; do printf '%s%s' "$field" "$mark"; done
"""


@pytest.fixture
def cloud() -> Iterator[SimCloud]:
    with SimCloud() as simulation:
        simulation.add_servers(["node1"])
        yield simulation


@pytest.fixture
def site(run_dir: Path, broker_url: str, cloud: SimCloud) -> TokenSite:
    """A site with one server in the cloud, and scripts in place of Slurm's commands."""
    made = TokenSite(run_dir / "site", broker_url)
    made.prepare()
    made.configure({"near": made.application_credential_cloud(cloud)})
    with made.config.open("a") as config:
        config.write('[groups.g]\nnodes = "node[1-2]"\ncloud = "near"\n[slurm]\nbin = "bin"\n')
    (made.folder / "slurm.conf").touch()
    (made.folder / "bin").mkdir()
    for name, script in (("scontrol", SCONTROL), ("squeue", SQUEUE)):
        (made.folder / "bin" / name).write_text(script)
        (made.folder / "bin" / name).chmod(0o755)
    store = open_store(made.settings.store.url, "state")
    row = {"desired": "up", "generation": 1, "request_id": "r", "observed": "ACTIVE"}
    with store.begin() as connection:
        for node, server in (("node1", cloud.servers()["node1"].id), ("node2", "no-such-server")):
            given = {**row, "cluster": "test", "node": node, "server_id": server}
            connection.execute(sa.insert(nodes).values(given))
    store.dispose()
    return made


def test_show_prints_the_current_state_in_slurm_and_in_the_cloud(site: TokenSite) -> None:
    request, gone = command("node1", jobs=(4711, 4712)), command("node2", jobs=())
    site.publish([dead_letter(request), dead_letter(gone)])
    alone = site.lamplighter("dead-letters", "show", request.id)
    assert alone.code == 0, alone.err
    assert "no answer  from near: no token service is running" in alone.out
    with serving(load(site.config)):
        result = site.lamplighter("dead-letters", "show", request.id)
        other = site.lamplighter("dead-letters", "show", gone.id)
    assert result.code == 0, result.err
    for fact in (
        "cloud now  near: SHUTOFF",
        "Slurm now  DOWN+CLOUD+POWERED_DOWN, reason: it broke",
        "4711 (PENDING), 4712 (no longer known to Slurm)",
        "store now  node1 is desired up",
        "last seen ACTIVE",
    ):
        assert fact in result.out
    assert "cloud now  near has no server no-such-server" in other.out


def test_show_explains_the_letter_if_the_queue_of_the_token_service_is_missing(
    site: TokenSite,
) -> None:
    request = command("node1", jobs=())
    site.publish([dead_letter(request)])
    with blocking_channel(connection_parameters(site.settings.broker, "test")) as channel:
        channel.queue_delete(TOKEN_QUEUE)
    result = site.lamplighter("dead-letters", "show", request.id)
    assert result.code == 0, result.err
    assert "no answer  from near: " in result.out
    assert "run lamplighter topology apply" in " ".join(result.out.split())
    assert "store now  node1 is desired up" in result.out


def test_show_names_each_source_that_gives_no_answer_and_the_reason(site: TokenSite) -> None:
    stranger = command("stranger", jobs=())
    (site.folder / "slurm.conf").unlink()
    site.publish([dead_letter(stranger)])
    result = site.lamplighter("dead-letters", "show", stranger.id)
    assert "no answer  from Slurm: its commands and slurm.conf are not on this host" in result.out
    assert "no answer  from a cloud: no group of the configuration has stranger" in result.out
    wrong = site.lamplighter("dead-letters", "show", "nope")
    assert (wrong.code, "'nope' is not the id of a dead letter" in wrong.err) == (1, True)
