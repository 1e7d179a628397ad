"""Lists every cloud once for each snapshot of Slurm, so that the listing is newer than the snapshot.

The resync worker compares the two; it needs neither a cloud's client nor a token of its own.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from schemas.server import Server
from workers.clouds.actions import DELETE
from workers.clouds.driver import CloudDriver
from workers.clouds.errors import NotWantedError
from workers.clouds.nova_requests import Call
from workers.clouds.strays import cloud_of, is_stray, is_surplus, may_have_job
from workers.config.settings import Settings
from workers.process.doubling import doubled
from workers.store.slurm_view import SnapshotReader

_LONGEST_REPEAT = 3600.0


@dataclass(slots=True)
class SnapshotListings:
    """Orders listings and keeps what they show. All on the engine's thread.

    `keep` and `order` raise what `STORE_ERRORS` names when the store is away.
    """

    settings: Settings
    snapshots: SnapshotReader
    clouds: Mapping[str, CloudDriver]
    _generation: int = 0
    # how often each server was deleted, and monotonic seconds before which it is not again
    _deleted: dict[str, tuple[int, float]] = field(default_factory=dict)

    def keep(self) -> None:
        """Keep the listings that a snapshot asked for and that have come."""
        for cloud in self.clouds.values():
            if cloud.ordered is not None and cloud.view.as_of > cloud.ordered:
                self._keep(cloud)

    def order(self) -> None:
        """See whether another snapshot has come, and order listings for it. Call it each second."""
        now = time.monotonic()
        generation, late = self.snapshots.wanted(list(self.clouds))
        is_newer, self._generation = generation != self._generation, generation
        for name, cloud in self.clouds.items():
            if name not in late:
                cloud.ordered = None
            elif is_newer or cloud.ordered is None:
                cloud.ordered = now
                if cloud.health.away is None:
                    cloud.list_soon(now)

    def _keep(self, cloud: CloudDriver) -> None:
        asked_at = time.time_ns() - int((time.monotonic() - cloud.view.as_of) * 1e9)
        servers = cloud.view.servers
        self.snapshots.keep(cloud.name, self._generation, asked_at, servers)
        cloud.ordered = None
        self._delete(cloud, servers)

    def _delete(self, cloud: CloudDriver, servers: Sequence[Server]) -> None:
        """Delete what the resync worker has condemned; again at growing intervals."""
        condemned, now = self.snapshots.condemned(), time.monotonic()
        self._deleted = {key: past for key, past in self._deleted.items() if key in condemned}
        for server in servers if condemned else ():
            tries, not_before = self._deleted.get(server.id, (0, 0.0))
            due = server.id in condemned and now >= not_before
            has_room = cloud.in_flight < cloud.limiter.window  # jobs wait behind these calls
            if due and has_room and self._may_delete(cloud, server):
                rest = doubled(self.settings.resync.repeat_after, tries + 1, _LONGEST_REPEAT)
                self._deleted[server.id] = tries + 1, now + rest
                call = Call(DELETE, server.id, server.node or server.name, group="")
                cloud.call(call, partial(self._guard, cloud, server))

    def _may_delete(self, cloud: CloudDriver, server: Server) -> bool:
        # the resync worker may have read an older configuration than ours
        node = server.node or ""
        if self.settings.is_dry(node):
            return False
        if self._is_stray(cloud, server):
            return self._is_unused(node)
        own = self.snapshots.own_server(node)
        found = cloud.view.find(node, own)
        if not is_surplus(self.settings, cloud.name, server, own, found):
            return False
        own_runs = any(one.id == own and one.status == "ACTIVE" for one in found)
        return (own_runs and not may_have_job(server)) or self._is_unused(node)

    def _is_stray(self, cloud: CloudDriver, server: Server) -> bool:
        views = {name: one.view for name, one in self.clouds.items()}
        home = cloud_of(self.settings, server)
        # what was never listed here may list it, too
        is_known = home is None or views[home].whole_as_of > 0
        return is_known and is_stray(self.settings, cloud.name, server, views)

    def _is_unused(self, node: str) -> bool:
        return self.snapshots.is_unused(node, self.settings.nodes)

    def _guard(self, cloud: CloudDriver, server: Server) -> None:
        """Runs on the caller's thread: a worker may have begun to use the node, or a job to run on it."""
        node, is_nobodys = server.node or "", self._is_stray(cloud, server)
        if not is_nobodys and self.snapshots.own_server(node) in {None, server.id}:
            raise NotWantedError("the node is acted on now")
        if (is_nobodys or may_have_job(server)) and not self._is_unused(node):
            raise NotWantedError("a job may be on the node, or it is acted on or held")
