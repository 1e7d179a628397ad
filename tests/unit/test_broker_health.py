"""What the counts of a broker's queues mean."""

from __future__ import annotations

import pytest

from ops.site.findings import of_queues
from workers.broker.depths import QueueDepth
from workers.broker.health import queues_to_prove
from workers.broker.topology import RETRY_TIERS, topology


def depths(**changed: QueueDepth) -> list[QueueDepth]:
    """All queues, empty and consumed, with some changed."""
    names = [queue.name for queue in topology().queues]
    by_name = {name: QueueDepth(name, 0, 1) for name in names}
    return list((by_name | {one.name: one for one in changed.values()}).values())


@pytest.mark.parametrize(
    ("queue", "problem"),
    [
        (QueueDepth("power.dlq", 5, 0), "5 dead letters"),
        (QueueDepth("power.retry.5s", 5, 0), None),
        (QueueDepth("resync", 0, 0), None),
        (QueueDepth("resync", 1, 0), "workers not running: resync"),
        (QueueDepth("power.resume", 0, 0), "workers not running: power"),
        (QueueDepth("audit", 0, 0), "workers not running: audit"),
        (QueueDepth("token.rpc", 0, 0), "workers not running: tokens"),
        (QueueDepth("slurm.events", 2, 0), "slurm on slurmctld's host"),
        (QueueDepth("power.suspend", None, None), "queues are missing"),
        (QueueDepth("power.suspend", 1_000_000, 1), "queues are full"),
        (QueueDepth("notify", 100_000, 1), None),  # drops its oldest
    ],
    ids=str,
)
def test_each_queue_that_needs_an_operator_is_named(queue: QueueDepth, problem: str | None) -> None:
    found = [one.text for one in of_queues(depths(changed=queue))]
    assert [problem in line for line in found if problem] == ([True] if problem else [])
    assert len(found) == (0 if problem is None else 1)


def test_every_queue_whose_loss_no_worker_would_notice_is_proved() -> None:
    unread = [QueueDepth(name, 0, 0) for name in ("power.dlq", *RETRY_TIERS)]
    running = depths(**{one.name: one for one in unread})
    assert set(queues_to_prove(running)) == {"power.dlq", *RETRY_TIERS}
    stopped = depths(**{q.name: QueueDepth(q.name, 0, 0) for q in running})
    assert set(queues_to_prove(stopped)) == {
        *("power.dlq", "power.resume", "power.suspend"),
        *RETRY_TIERS,
    }


def test_no_message_that_waits_for_its_retry_is_taken_and_no_missing_queue_is_asked() -> None:
    changed = {name: QueueDepth(name, 1, 0) for name in RETRY_TIERS}
    assert queues_to_prove(depths(**changed)) == ["power.dlq"]
    assert queues_to_prove([QueueDepth("power.dlq", None, None)]) == []
