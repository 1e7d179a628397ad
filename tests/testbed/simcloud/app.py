"""The web application: all services and the control API of one simulation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from tests.testbed.simcloud.control import ControlApi
from tests.testbed.simcloud.glance import ImagesApi
from tests.testbed.simcloud.keystone import KeystoneApi
from tests.testbed.simcloud.neutron import NetworksApi
from tests.testbed.simcloud.nova_discovery import DiscoveryApi
from tests.testbed.simcloud.nova_metadata import MetadataApi
from tests.testbed.simcloud.nova_servers import ServersApi
from tests.testbed.simcloud.oidc import OidcApi
from tests.testbed.simcloud.simulation import Simulation


def application(sim: Simulation) -> Starlette:
    """Return the application that serves ``sim``."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await sim.hook.close()

    gate, compute, tokens, grants = sim.gate, sim.compute, sim.tokens, sim.grants
    routes = [
        *ServersApi(gate, sim.dials, compute, tokens, sim.images).routes(),
        *MetadataApi(gate, compute, tokens).routes(),
        *DiscoveryApi(gate, compute, tokens).routes(),
        *ImagesApi(gate, sim.images, tokens).routes(),
        *NetworksApi(gate, sim.dials, tokens).routes(),
        *KeystoneApi(gate, sim.time, sim.dials, tokens, grants).routes(),
        *OidcApi(gate, sim.dials, grants, sim.devices).routes(),
        *ControlApi(sim).routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
