"""A snapshot of Slurm's view: stamped first, then read, then cut into messages."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from producers import clock
from producers.message import Message
from schemas import ids
from schemas.snapshot import ROUTING_KEY, SlurmNode, Snapshot

EXCHANGE = "slurm.snapshots"
# Some 200 bytes a node at most: far below what a broker takes as one message.
NODES_A_PART = 5000


def take(cluster: str, state: Path, read: Callable[[], Sequence[SlurmNode]]) -> Snapshot:
    """One snapshot.

    What a hook stamps after Slurm has been read is above its generation: then a request that is
    made of the snapshot never wins over what Slurm has said since.

    Args:
        cluster: whose.
        state: the clock's folder, which the hooks share.
        read: asks Slurm.

    Raises:
        ClockError: no generation can be stamped; Slurm was not read.
    """
    generation = clock.stamp(state)
    origin = os.uname().nodename or "unknown"
    return Snapshot(cluster, generation, ids.correlation_id(), origin, tuple(read()))


def messages(snapshot: Snapshot, size: int = NODES_A_PART) -> Iterator[Message]:
    """The snapshot as messages of at most `size` nodes each; of none, too, it is one."""
    starts = range(0, max(len(snapshot.nodes), 1), size)
    for part, start in enumerate(starts, 1):
        cut = replace(
            snapshot, nodes=snapshot.nodes[start : start + size], part=part, parts=len(starts)
        )
        envelope = cut.to_envelope()
        yield Message(EXCHANGE, ROUTING_KEY, envelope.to_json(), envelope.id)
