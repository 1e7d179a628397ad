"""A snapshot of Slurm's node states: stamped first, then read, then cut into messages."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from producers import clock
from producers.batched import batched
from producers.message import Message
from schemas import ids
from schemas.snapshot import ROUTING_KEY, SlurmNode, Snapshot

EXCHANGE = "slurm.snapshots"
# A node takes about 200 bytes at most; the broker's limit for a message is far higher.
NODES_PER_PART = 5000


def take(cluster: str, state: Path, read: Callable[[], Sequence[SlurmNode]]) -> Snapshot:
    """Take a snapshot; a ClockError means that Slurm was not read.

    Hook calls made after Slurm was read have a higher generation, so a request that follows from
    the snapshot never replaces a newer one of Slurm. `state` is the folder of the hooks' clock.
    """
    taken = time.time_ns()
    generation = clock.stamp(state)
    origin = os.uname().nodename or "unknown"
    return Snapshot(cluster, generation, ids.correlation_id(), origin, tuple(read()), taken=taken)


def messages(snapshot: Snapshot, size: int = NODES_PER_PART) -> Iterator[Message]:
    """The snapshot as messages of at most `size` nodes; one message if there are no nodes."""
    parts = [tuple(nodes) for nodes in batched(snapshot.nodes, size)] or [()]
    for part, nodes in enumerate(parts, 1):
        envelope = replace(snapshot, nodes=nodes, part=part, parts=len(parts)).to_envelope()
        yield Message(EXCHANGE, ROUTING_KEY, envelope.to_json(), envelope.id)
