"""What a snapshot's listing leads to: stray servers are deleted beside the calls that jobs wait for."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, cast

from schemas.server import Server
from tests.testbed.installation import CLUSTER, ONE_GROUP, Installation
from tests.testbed.waiting import until
from workers.clouds.driver import Answered, CloudDriver
from workers.clouds.snapshot_listings import SnapshotListings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from workers.clouds.client import Cloud
    from workers.clouds.driver import CloudEvent
    from workers.clouds.nova_requests import Call
    from workers.store.slurm_view import SnapshotReader

STRAYS = [
    Server(f"id-{i}", f"old{i}", "SHUTOFF", cluster=CLUSTER, node=f"old{i}") for i in range(50)
]


class Slurm:
    """Slurm knows none of the strays' nodes, and all of the strays are condemned."""

    def keep(self, _cloud: str, _generation: int, _asked: int, _servers: Sequence[Server]) -> None:
        """A listing is kept."""

    def condemned(self) -> frozenset[str]:
        return frozenset(server.id for server in STRAYS)

    def is_unused(self, _node: str, _configured: Collection[str]) -> bool:
        return True


class Deletes:
    """A cloud that takes each call."""

    def act(self, call: Call, guard: Callable[[], None]) -> str:
        guard()
        return call.server_id

    def close(self) -> None:
        """Nothing is open."""


def test_the_deletion_of_many_strays_leaves_room_for_the_calls_that_jobs_wait_for(
    run_dir: Path,
) -> None:
    """A group was taken out of lamplighter.toml: each snapshot deletes some of its servers."""
    site = Installation(run_dir / "site", "amqp://me:secret@127.0.0.1:1/v", more=ONE_GROUP)
    posted: list[CloudEvent] = []
    settings, cloud = site.settings.clouds["one"], cast("Cloud", Deletes())
    with closing(CloudDriver("one", CLUSTER, settings, cloud, posted.append)) as driver:
        slurm = cast("SnapshotReader", Slurm())
        listings = SnapshotListings(site.settings, slurm, {"one": driver})
        most = int(driver.limiter.window)
        for snapshot in range(1, 4):
            driver.view.fold(STRAYS, time.monotonic(), whole=True)
            driver.ordered = 0.0
            listings.keep()
            assert driver.in_flight == most
            until(lambda: len(posted) == most * snapshot, 20, "the answers")  # noqa: B023
            for _ in range(most):
                driver.answered(time.monotonic())
    deleted = [one.answer for one in posted if isinstance(one, Answered)]
    assert len(set(deleted)) == 3 * most
