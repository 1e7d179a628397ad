"""Lists every cloud once for each snapshot of Slurm: a listing that is newer than what Slurm said.

So the resync worker needs no cloud's client and no token of its own.
"""

import time
from collections.abc import Mapping

import structlog

from schemas.server import Server
from workers.clouds.actions import DELETE
from workers.clouds.driver import CloudDriver
from workers.clouds.nova_requests import Call
from workers.clouds.strays import is_stray
from workers.config.settings import Settings
from workers.power.slurm_view import SnapshotReader

_LOOK = 1.0
_NS = 1_000_000_000


class Listings:
    """Orders listings, and keeps what they show. All on the engine's thread.

    Args:
        settings: all of lamplighter.toml.
        witness: knows the newest snapshot, and keeps the listings.
        sites: the clouds.
    """

    def __init__(
        self, settings: Settings, witness: SnapshotReader, sites: Mapping[str, CloudDriver]
    ) -> None:
        self._settings = settings
        self._witness = witness
        self._sites = sites
        self._generation = 0
        self._next_look = 0.0
        self._log = structlog.get_logger()

    def turn(self) -> None:
        """Keep what has been listed; once a second see whether another snapshot has come.

        Raises:
            What says that the store is away.
        """
        for site in self._sites.values():
            if site.ordered is not None and site.view.as_of > site.ordered:
                self._keep(site)
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK
        generation, late = self._witness.wanted(list(self._sites))
        newer, self._generation = generation != self._generation, generation
        for name, site in self._sites.items():
            if name not in late:
                site.ordered = None
            elif newer or site.ordered is None:
                site.ordered = now
                if site.health.away is None:
                    site.list_soon(now)

    def _keep(self, site: CloudDriver) -> None:
        ago = time.monotonic() - site.view.as_of
        asked_at = time.time_ns() - int(ago * _NS)
        self._witness.keep(site.name, self._generation, asked_at, site.view.servers)
        site.ordered = None
        condemned = self._witness.condemned()
        for server in site.view.servers:
            # whoever has condemned it may have read an older configuration than ours
            dry = self._settings.is_dry(server.node or "")
            if server.id in condemned and not dry and is_stray(self._settings, site.name, server):
                self._delete(site, server)

    def _delete(self, site: CloudDriver, server: Server) -> None:
        """Delete a server that the resync worker has found to be no node's, by its id."""

        def answered(answer: str | BaseException) -> None:
            error = None if isinstance(answer, str) else str(answer)
            self._log.warning("stray_deleted", cloud=site.name, server_id=server.id, error=error)

        call = Call(DELETE, server.id, server.node or server.name, group="")
        site.call(call, lambda: None, answered)
