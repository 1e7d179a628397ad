"""The parts of one simulated cloud, connected."""

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.clock import LoopTime
from tests.testbed.simcloud.compute import Compute
from tests.testbed.simcloud.devices import DeviceCodes
from tests.testbed.simcloud.gate import Gate
from tests.testbed.simcloud.grants import GrantStore
from tests.testbed.simcloud.images import ImageStore
from tests.testbed.simcloud.model import Server
from tests.testbed.simcloud.power import PowerEvent, PowerHook
from tests.testbed.simcloud.settings import Config, CurrentSettings
from tests.testbed.simcloud.tokens import TokenStore


class Simulation:
    """The state of a simulated cloud. Create it inside a running event loop."""

    def __init__(self, config: Config) -> None:
        self.dials = CurrentSettings(config.settings)
        self.time = LoopTime(self.dials)
        self.hook = PowerHook(config.hook)
        self.compute = Compute(self.time, self.dials, config.seed, self._tell_hook)
        self.images = ImageStore(self.time, config.seed)
        self.tokens = TokenStore(self.time)
        self.grants = GrantStore(self.time, self.dials)
        self.devices = DeviceCodes(self.time, self.dials)
        self.gate = Gate(self.time, self.dials, config.seed)
        self.grants.login(
            credentials.SUBJECT,
            credentials.PUBLIC_CLIENT,
            credentials.SCOPE,
            credentials.REFRESH_TOKEN,
        )
        for spec in config.servers:
            self.compute.add(spec)

    def _tell_hook(self, server: Server, powered: bool) -> None:  # noqa: FBT001 (a listener's shape)
        event = "power_on" if powered else "power_off"
        self.hook.queue(PowerEvent(server.id, server.name, server.address, event))
