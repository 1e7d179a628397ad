"""The web application: all services and the control API of one simulation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from tests.testbed.simcloud.control import ControlApi
from tests.testbed.simcloud.keystone import KeystoneApi
from tests.testbed.simcloud.nova import NovaApi
from tests.testbed.simcloud.oidc import OidcApi
from tests.testbed.simcloud.simulation import Simulation


def application(sim: Simulation) -> Starlette:
    """Return the application that serves ``sim``."""
    nova = NovaApi(sim.dials, sim.compute, sim.tokens)
    keystone = KeystoneApi(sim.time, sim.dials, sim.tokens, sim.grants)
    oidc = OidcApi(sim.grants)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await sim.hook.close()

    routes = [
        *nova.routes(sim.gate),
        *keystone.routes(sim.gate),
        *oidc.routes(sim.gate),
        *ControlApi(sim).routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
