"""Files and environment that keep a rabbitmq-server of the system's package private."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.processes import MINIMAL_ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The scripts in this folder run as the calling user; Debian's wrappers in /usr/sbin require the user
# rabbitmq and the system's folders.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"


@dataclass(frozen=True)
class Node:
    """A RabbitMQ node: its folder, and its ports on 127.0.0.1.

    Attributes:
        folder: For all its files; also its home folder, which contains Erlang's cookie.
        amqp: Port for clients.
        web: Port of the management API.
        epmd: Port of the Erlang port mapper.
        cookie: Erlang's secret, which all nodes of a cluster share.
        dist: Port to which rabbitmqctl connects.
        cli: Port on which rabbitmqctl itself listens.
    """

    folder: Path
    amqp: int
    web: int
    epmd: int
    dist: int
    cli: int
    cookie: str = field(repr=False)

    @property
    def name(self) -> str:
        """Its name in a cluster."""
        return f"lamplighter-{self.amqp}@localhost"

    @property
    def data_dir(self) -> Path:
        """The folder in which messages are stored."""
        return self.folder / "data"

    def environment(self) -> dict[str, str]:
        """Return the environment for the server and its tools; it contains no secret."""
        return MINIMAL_ENVIRONMENT | {
            "HOME": str(self.folder),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "no-such-file"),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.data_dir),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            # Makes the script exec the server instead of staying its parent. Killing such a parent
            # would leave the server to init, and a zombie.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_DIST_PORT": str(self.dist),
            # net_setuptime: who sends to a hung node of the cluster waits so many seconds, not 7.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{LOOPBACK} +S 2:2 -kernel net_setuptime 1",
            "RABBITMQ_CTL_ERL_ARGS": LOOPBACK,
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self.cli),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self.cli),
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def write(
        self, admin: str, password: str, settings: Mapping[str, str], plugins: Sequence[str] = ()
    ) -> None:
        """Create the folders and the configuration.

        Args:
            admin: The administrator, created when the node first starts.
            password: The administrator's password.
            settings: More lines of rabbitmq.conf.
            plugins: More plugins than the management API.
        """
        for path in (self.folder, self.data_dir, self.folder / "log"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = {
            "listeners.tcp.1": f"127.0.0.1:{self.amqp}",
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": str(self.web),
            "default_user": admin,
            "default_pass": password,
            "disk_free_limit.absolute": "50MB",
            "vm_memory_high_watermark.relative": "0.8",
            # Together with the tick of quorum queues below: the API's numbers are about 0.5 s old.
            "collect_statistics_interval": "500",
            **settings,
        }
        self._write("rabbitmq.conf", "".join(f"{key} = {value}\n" for key, value in lines.items()))
        self._write("advanced.config", "[{rabbit, [{quorum_tick_interval, 500}]}].\n")
        enabled = ",".join(("rabbitmq_management", *plugins))
        self._write("enabled_plugins", f"[{enabled}].\n")
        self._write(".erlang.cookie", self.cookie)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        path.chmod(0o400)


def packaged_version() -> str | None:
    """Return the version of the system's rabbitmq-server; None if it is not installed."""
    try:
        home = (SCRIPTS / "rabbitmq-server").resolve(strict=True).parent.parent
    except FileNotFoundError:
        return None
    return home.name.partition("-")[2]
