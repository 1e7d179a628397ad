"""How a rabbitmq-server of the system's package is kept to itself: files and environment."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed.processes import MINIMAL_ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Mapping

# The scripts of this folder run as whoever calls them; Debian's wrappers in /usr/sbin insist on
# the user rabbitmq and on the system's own folders.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"


@dataclass(frozen=True)
class Node:
    """A RabbitMQ node: its folder, and its ports on 127.0.0.1.

    Attributes:
        folder: Holds all it writes; also its home folder, where Erlang's cookie lies.
        amqp: Port for clients.
        web: Port of the management API.
        epmd: Port of its own Erlang port mapper.
        dist: Port for rabbitmqctl to talk to.
        cli: Port that rabbitmqctl itself listens on.
    """

    folder: Path
    amqp: int
    web: int
    epmd: int
    dist: int
    cli: int

    @property
    def data_dir(self) -> Path:
        """Where messages lie at rest."""
        return self.folder / "data"

    def environment(self) -> dict[str, str]:
        """Return the environment for the server and its tools; it holds no secret."""
        return MINIMAL_ENVIRONMENT | {
            "HOME": str(self.folder),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "no-such-file"),
            "RABBITMQ_NODENAME": f"lamplighter-{self.amqp}@localhost",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.data_dir),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            # Makes the script become the server instead of staying its parent; the parent could not
            # be killed without leaving a zombie to whoever inherits the server.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{LOOPBACK} +S 2:2",
            "RABBITMQ_CTL_ERL_ARGS": LOOPBACK,
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self.cli),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self.cli),
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def write(self, admin: str, password: str, settings: Mapping[str, str]) -> None:
        """Make the folders and the configuration.

        Args:
            admin: The administrator, made when the node first starts.
            password: And his password.
            settings: More lines of rabbitmq.conf.
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
            # With the quorum queues' tick below: the API's numbers are about half a second old.
            "collect_statistics_interval": "500",
            **settings,
        }
        self._write("rabbitmq.conf", "".join(f"{key} = {value}\n" for key, value in lines.items()))
        self._write("advanced.config", "[{rabbit, [{quorum_tick_interval, 500}]}].\n")
        self._write("enabled_plugins", "[rabbitmq_management].\n")
        self._write(".erlang.cookie", secrets.token_hex(16))

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        path.chmod(0o400)


def packaged_version() -> str | None:
    """Return the version of the system's rabbitmq-server, None if there is none."""
    try:
        home = (SCRIPTS / "rabbitmq-server").resolve(strict=True).parent.parent
    except FileNotFoundError:
        return None
    return home.name.partition("-")[2]
