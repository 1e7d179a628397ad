"""Lists every cloud once for each snapshot of Slurm, so that the listing is newer than the snapshot.

The resync worker compares the two; it needs neither a cloud's client nor a token of its own.
"""

import time
from collections.abc import Mapping
from functools import partial

from schemas.server import Server
from workers.clouds.actions import DELETE
from workers.clouds.driver import CloudDriver
from workers.clouds.nova_requests import Call
from workers.clouds.strays import is_stray, is_surplus
from workers.config.settings import Settings
from workers.power.calls import NotWantedError
from workers.store.slurm_view import SnapshotReader

_NS = 1_000_000_000


class SnapshotListings:
    """Orders listings and keeps what they show. All on the engine's thread.

    Args:
        settings: all of lamplighter.toml.
        snapshots: knows the newest snapshot, and keeps the listings.
        clouds: by name.
    """

    def __init__(
        self, settings: Settings, snapshots: SnapshotReader, clouds: Mapping[str, CloudDriver]
    ) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._clouds = clouds
        self._generation = 0

    def keep(self) -> None:
        """Keep the listings that a snapshot asked for and that have come.

        Raises:
            What `STORE_ERRORS` names: the store is away.
        """
        for cloud in self._clouds.values():
            if cloud.ordered is not None and cloud.view.as_of > cloud.ordered:
                self._keep(cloud)

    def order(self) -> None:
        """See whether another snapshot has come, and order listings for it. Call it each second.

        Raises:
            What `STORE_ERRORS` names: the store is away.
        """
        now = time.monotonic()
        generation, late = self._snapshots.wanted(list(self._clouds))
        is_newer, self._generation = generation != self._generation, generation
        for name, cloud in self._clouds.items():
            if name not in late:
                cloud.ordered = None
            elif is_newer or cloud.ordered is None:
                cloud.ordered = now
                if cloud.health.away is None:
                    cloud.list_soon(now)

    def _keep(self, cloud: CloudDriver) -> None:
        age = time.monotonic() - cloud.view.as_of
        asked_at = time.time_ns() - int(age * _NS)
        servers = cloud.view.servers
        self._snapshots.keep(cloud.name, self._generation, asked_at, servers)
        cloud.ordered = None
        condemned = self._snapshots.condemned()
        for server in servers if condemned else ():
            if server.id in condemned and self._may_delete(cloud, server):
                call = Call(DELETE, server.id, server.node or server.name, group="")
                cloud.call(call, partial(self._guard, cloud, server))

    def _may_delete(self, cloud: CloudDriver, server: Server) -> bool:
        # the resync worker may have read an older configuration than ours
        node = server.node or ""
        if self._settings.is_dry(node):
            return False
        if is_stray(self._settings, cloud.name, server):
            return True
        own = self._snapshots.own_server(node)
        found = cloud.view.find(node, own)
        return is_surplus(self._settings, cloud.name, server, own, found)

    def _guard(self, cloud: CloudDriver, server: Server) -> None:
        """Runs on the caller's thread: a worker may have begun to use a surplus server."""
        if is_stray(self._settings, cloud.name, server):
            return
        if self._snapshots.own_server(server.node or "") in {None, server.id}:
            raise NotWantedError("the node is acted on now", 0)
