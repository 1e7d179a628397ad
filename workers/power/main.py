"""`lamplighter worker power`."""

from collections.abc import Callable
from contextlib import closing

from workers.clouds.client import Cloud
from workers.clouds.driver import CloudDriver, CloudEvent
from workers.config.settings import Settings
from workers.config.slurm_location import is_installed
from workers.power.backlog import QUEUES
from workers.power.engine import Engine
from workers.power.metrics import PowerMetrics
from workers.process.runtime import Runtime, declare_topology, runtime
from workers.store.lease_owner import Lease, Owner
from workers.store.power_store import PowerStore
from workers.store.slurm_view import SnapshotReader
from workers.tokens.client import TokenClient
from workers.tokens.plugin import TokenServicePlugin


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: the configuration cannot be used.
        sqlalchemy.exc.OperationalError: the store cannot be reached at the start.
    """
    with (
        runtime("power", settings) as run,
        TokenClient(settings, run.name) as tokens,
        closing(Owner(run.store.url)) as owner,
    ):
        declare_topology(run)
        _serve(run, tokens, owner)
    return 0


def _serve(run: Runtime, tokens: TokenClient, owner: Owner) -> None:
    settings, power = run.settings, run.settings.power

    def open_cloud(name: str, post: Callable[[CloudEvent], None]) -> CloudDriver:
        of_cloud = settings.clouds[name]
        auth = TokenServicePlugin(tokens, name, of_cloud.auth_url)
        auth.log_in_early()
        groups = {key: group for key, group in settings.groups.items() if group.cloud == name}
        cloud = Cloud(of_cloud, auth, power.api_timeout, settings.cluster, groups)
        return CloudDriver(name, settings.cluster, of_cloud, cloud, post)

    link = run.open_link(
        dict.fromkeys(QUEUES, power.prefetch),
        on_delivery=lambda delivery: engine.deliver(delivery),  # noqa: PLW0108 - made below
        on_up=lambda connection: engine.connected(connection),  # noqa: PLW0108 - made below
    )
    lease = Lease(owner, power.lease, settling=power.api_timeout)
    store = PowerStore(run.store, settings.cluster, lease)
    wanted = settings.resync.enabled
    enabled = wanted if wanted is not None else is_installed(settings) or None
    snapshots = SnapshotReader(
        run.store, settings.cluster, enabled=enabled, stale_after=settings.stale_after
    )
    engine = Engine(
        settings, link, store, snapshots, open_cloud, metrics=PowerMetrics(run.registry)
    )
    link.start()
    try:
        while run.stop.next_turn():
            engine.turn()
            run.state = engine.state
    finally:
        engine.close()
        link.stop()
