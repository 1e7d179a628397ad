"""Faults of the broker, and of the ways to the broker and to the cloud."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from storm.faults.hit import Hit
from storm.own_network import packets_lost
from tests.testbed.cluster import VHOST
from tests.testbed.cut import Cut
from workers.broker.topology import RESUME_QUEUE


@contextmanager
def broker(hit: Hit) -> Iterator[None]:
    """Restart or kill the broker or a node of it; freeze one; close all connections."""
    node = hit.chance.choice(hit.site.brokers)
    try:
        match hit.target:
            case "connections":
                node.api.close_connections()
            case "freeze":
                node.freeze()
            case "kill":
                node.kill()
            case _:
                node.stop()
        yield
    finally:
        hit.site.mend_brokers()


@contextmanager
def partition(hit: Hit) -> Iterator[None]:
    """Cut a node of the cluster off from the others."""
    cluster = hit.site.cluster
    if cluster is None:
        raise RuntimeError("there is one broker only")
    leads = hit.target == "leader"
    try:
        cluster.cut_off(cluster.leader(VHOST, RESUME_QUEUE) if leads else cluster.nodes[0])
        yield
    finally:
        hit.site.mend_brokers()


@contextmanager
def cut_broker(hit: Hit) -> Iterator[None]:
    """Cut all connections to the broker: with a reset, silently, or by losing every packet."""
    with ExitStack() as cuts:
        for cut in hit.site.broker_cuts:
            cuts.enter_context(_cut(hit, cut))
        yield


@contextmanager
def cut_cloud(hit: Hit) -> Iterator[None]:
    """Cut all connections to the cloud, in the same ways."""
    with _cut(hit, hit.site.cloud_cut):
        yield


@contextmanager
def cut_one_broker(hit: Hit) -> Iterator[None]:
    """Cut the way to one node of a cluster, which itself is well."""
    with _cut(hit, hit.chance.choice(hit.site.broker_cuts)):
        yield


@contextmanager
def _cut(hit: Hit, cut: Cut) -> Iterator[None]:
    if hit.target == "drop":
        with packets_lost(cut.port):
            yield
        return
    try:
        getattr(cut, hit.target)()
        yield
    finally:
        cut.mend()
