"""A cluster of three RabbitMQ nodes: whatever one of them does, nothing is lost, doubled or restarted.

Hooks end within 4 s, and workers go on within 10 s, as long as two nodes work together:
`python -m benchmarks broker_cluster` measures that. Here hooks end in time, and workers go on while the
fault lasts; on a busy machine, three brokers need longer for their elections.
"""

from __future__ import annotations

import re
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.cli.session import Session
from ops.console.reader import SiteReader
from producers.amqp import ConnectionParameters
from producers.broker_settings import BrokerSettings
from tests.testbed.broker_cluster import BrokerCluster
from tests.testbed.cluster_faults import ClusterTrouble
from tests.testbed.controller import IN_TIME
from tests.testbed.installation import Installation
from tests.testbed.messages import command, dead_letter
from tests.testbed.page_commands import printed
from tests.testbed.rabbitmq_node import SCRIPTS
from tests.testbed.waiting import until
from tests.testbed.whole_system import WORKERS, SystemPlan, WholeSystem
from workers.broker.blocking import blocking_channel
from workers.broker.topology import DEAD_LETTER_QUEUE, topology

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs/broker-cluster.md"
LETTERS = 5
LONELY = "power.retry.5s"
DISCARD = ("dead-letters", "discard", "--all", "--yes", "--reason", "r")


@pytest.fixture(scope="module")
def cluster(session_dir: Path) -> Iterator[BrokerCluster]:
    with BrokerCluster(session_dir / "cluster") as running:
        yield running


@contextmanager
def trouble(cluster: BrokerCluster, folder: Path) -> Iterator[ClusterTrouble]:
    """A system with requests on the cluster; at the end every promise is checked."""
    vhost = cluster.nodes[0].create_vhost()
    plan = SystemPlan(nodes=10)
    with WholeSystem(folder, cluster.urls(vhost), plan, start=(*WORKERS, "relay")) as system:
        cluster.settle()
        try:
            yield ClusterTrouble(cluster, system, vhost)
        finally:
            cluster.mend()
        system.settle()
        system.check()


def test_killed_leader_stops_nobody(cluster: BrokerCluster, run_dir: Path) -> None:
    with trouble(cluster, run_dir / "system") as now:
        assert now.survive(now.leader().kill).hook < IN_TIME


def test_hung_leader_at_the_first_address_stops_nobody(
    cluster: BrokerCluster, run_dir: Path
) -> None:
    with trouble(cluster, run_dir / "system") as now:
        assert now.leader() is cluster.nodes[0]  # a queue is led where it was declared
        assert now.survive(cluster.nodes[0].freeze).hook < IN_TIME


def test_node_cut_off_from_the_others_stops_nobody(cluster: BrokerCluster, run_dir: Path) -> None:
    with trouble(cluster, run_dir / "system") as now:
        assert now.survive(lambda: cluster.cut_off(cluster.nodes[0])).hook < IN_TIME


def test_lost_quorum_is_said_and_its_return_needs_no_restart(
    cluster: BrokerCluster, run_dir: Path
) -> None:
    with trouble(cluster, run_dir / "system") as now:

        def lose() -> None:
            for node in cluster.nodes[:2]:
                node.kill()

        cost = now.survive(lose, served=False)
        assert cost.hook < IN_TIME
        for words in (("status",), ("dead-letters", "list"), DISCARD):
            done = now.system.operator(*words)
            assert done.returncode == 3, (words, done)
            assert "the broker" in done.stderr


def test_rolling_restart_of_all_nodes_is_not_noticed(cluster: BrokerCluster, run_dir: Path) -> None:
    with trouble(cluster, run_dir / "system") as now:

        def restart() -> None:
            for node in cluster.nodes:
                node.restart()

        assert now.survive(restart).hook < IN_TIME


@pytest.fixture
def letters(cluster: BrokerCluster, run_dir: Path) -> Iterator[tuple[Installation, str]]:
    """An installation that does not know the first node, which leads all queues; and its vhost."""
    vhost = cluster.nodes[0].create_vhost()
    Installation(run_dir / "first", cluster.urls(vhost)[0]).prepare()
    site = Installation(run_dir / "site", *cluster.urls(vhost)[1:])
    site.prepare()
    site.publish([dead_letter(command(f"node{n}")) for n in range(LETTERS)])
    cluster.settle()
    try:
        yield site, vhost
    finally:
        cluster.mend()


def test_letters_are_listed_whole_or_not_at_all_while_their_queue_has_no_leader(
    cluster: BrokerCluster, letters: tuple[Installation, str]
) -> None:
    """Its leader hangs until the others elect a new one: meanwhile the broker counts 0 letters."""
    site, vhost = letters
    assert cluster.leader(vhost, DEAD_LETTER_QUEUE) is cluster.nodes[0]
    cluster.nodes[0].freeze()

    def listed() -> bool:
        done = site.lamplighter("dead-letters", "list", "--json")
        assert done.code == 3 or len(done.lines) == LETTERS, done
        return done.code == 0

    until(listed, 60, "a new leader")


def test_one_queue_without_a_node_is_said_although_the_others_work(
    cluster: BrokerCluster, letters: tuple[Installation, str]
) -> None:
    site, vhost = letters
    parameters = ConnectionParameters(BrokerSettings(tuple(cluster.urls(vhost)[:1])), "test")
    with blocking_channel(parameters) as channel:
        channel.queue_delete(LONELY)
        lonely = {"x-queue-type": "quorum", "x-quorum-initial-group-size": 1}
        channel.queue_declare(LONELY, durable=True, arguments=lonely)
    cluster.nodes[0].kill()
    until(lambda: site.depth(DEAD_LETTER_QUEUE) == LETTERS, 30, "a new leader")
    listing = ("dead-letters", "list", "--by", "letter")
    for words in (("status",), ("topology", "check"), ("clock", "show"), listing):
        done = site.lamplighter(*words)
        assert done.code == 3, (words, done)
        assert f"does not answer for {LONELY}: it has no quorum" in done.err, (words, done)
    assert all(f"node{n}" in done.out for n in range(LETTERS))  # what is there is shown


def test_the_page_grows_a_queue_that_is_on_one_node(cluster: BrokerCluster, run_dir: Path) -> None:
    """By the commands of docs/broker-cluster.md, for the two nodes that came later."""
    first, *later = cluster.nodes
    vhost = first.create_vhost()
    management = f'management_url = "{first.management_url}"'
    site = Installation(run_dir / "site", *cluster.urls(vhost), broker=management)
    site.prepare()
    parameters = ConnectionParameters(BrokerSettings(tuple(cluster.urls(vhost)[:1])), "test")
    with blocking_channel(parameters) as channel:
        channel.queue_delete(DEAD_LETTER_QUEUE)
        (of_letters,) = [one for one in topology().queues if one.name == DEAD_LETTER_QUEUE]
        alone = {**of_letters.arguments, "x-quorum-initial-group-size": 1}
        channel.queue_declare(DEAD_LETTER_QUEUE, durable=True, arguments=alone)
    admin = ("topology", "check", "--admin", first.admin.name)

    def is_short() -> bool:
        done = site.lamplighter(*admin, typed=first.admin.password)
        return f"queue {DEAD_LETTER_QUEUE}: is on 1 of 3 nodes" in done.out

    assert is_short()
    lines = printed("Queues", PAGE)
    assert len(lines) == len(later)
    environment = first.node.environment()
    environment["PATH"] = f"{SCRIPTS}:{environment['PATH']}"
    for line, node in zip(lines, later, strict=True):
        ours = re.sub(r"rabbit@rabbit\d", node.node.name, line)
        subprocess.run(["/bin/sh", "-c", ours], env=environment, check=True, capture_output=True)
    assert not is_short()


def test_minority_that_goes_on_has_no_quorum_and_says_so(run_dir: Path) -> None:
    """Without pause_minority the last node accepts connections, and answers for its queues: with 0."""
    with BrokerCluster(run_dir / "cluster", partition_handling="ignore") as cluster:
        vhost = cluster.nodes[0].create_vhost()
        site = Installation(run_dir / "site", *cluster.urls(vhost))
        site.prepare()
        site.publish([dead_letter(command("node1"), cause="quota")])
        cluster.settle()
        for node in cluster.nodes[:2]:
            node.kill()
        for words in (
            ("status",),
            ("status", "--json"),
            ("topology", "check"),
            ("dead-letters", "list"),
            DISCARD,
        ):
            done = site.lamplighter(*words)
            assert done.code == 3, (words, done)
            assert "quorum" in done.out + done.err, (words, done)
            assert "is full" not in done.err
        with closing(SiteReader(Session(site.config))) as console:
            # or the virtual host is down there, perhaps for want of its quorum
            until(lambda: "quorum" in str(console.read().problems), 30, "the console")
            assert console.read().queues is None
        cluster.start()
        assert "quota" in site.lamplighter("dead-letters", "list").out
