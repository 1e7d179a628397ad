"""Run a real cloud for the duration of a ``with`` block."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tests.testbed.openstack import packages, state
from tests.testbed.openstack.calls import count_calls
from tests.testbed.openstack.configuration import Tokens
from tests.testbed.openstack.layout import Layout, PortMap
from tests.testbed.openstack.login import LoginControl
from tests.testbed.openstack.servers import ComputeControl
from tests.testbed.openstack.stack import Stack
from tests.testbed.ports import Ports

if TYPE_CHECKING:
    from pathlib import Path


class RealOpenStack(ComputeControl, LoginControl):
    """Keystone behind Apache, Placement, Nova, Glance and an OpenID provider, on private ports.

    Users, projects and secrets are those of `tests.testbed.simcloud.credentials`; their ids are
    this cloud's own. The first start on a machine installs and seeds, which takes minutes; later
    starts use a copy.

    Attributes:
        layout: Folders and addresses.
        auth_url: Keystone's address.
    """

    def __init__(self, folder: Path, tokens: Tokens | None = None) -> None:
        """Install the packages and reserve ports; start nothing.

        Args:
            folder: For all files of the cloud; need not exist. The path may have at most 60
                characters, because there are Unix sockets below it.
            tokens: Lifetimes of tokens.

        Raises:
            RuntimeError: Packages cannot be installed; the message holds the reason.
            FileNotFoundError: A system package is missing.
        """
        self._exits = ExitStack()
        self._tokens = tokens
        self._counted: Counter[str] = Counter()
        self._software = packages.install()
        ports = PortMap.take(self._exits.enter_context(Ports()))
        self.layout = Layout(folder, ports, self._software.venv, self._software.oidc)
        self.auth_url = self.layout.auth_url
        ComputeControl.__init__(self, self.layout)
        LoginControl.__init__(self, self.layout)

    @property
    def logs(self) -> Path:
        """The folder of all logs; those of the APIs' calls end in ``-access.log``."""
        return self.layout.log

    def counts(self) -> dict[str, int]:
        """Return the calls of Nova and Keystone since `reset_counts`, by kind (see `calls`).

        Kinds never called are missing; the test bed's own calls are not counted.
        """
        return dict(count_calls(self.layout) - self._counted)

    def reset_counts(self) -> None:
        """Reset the counts."""
        self._counted = count_calls(self.layout)

    def start(self) -> None:
        """Start everything and wait until it answers.

        Raises:
            RuntimeError: A process has ended; the message holds the end of its log.
            TimeoutError: A service does not answer.
        """
        self.layout.make_folders()
        state.restore(self._software, self.layout)
        self._stack = self._exits.enter_context(Stack(self.layout, self._tokens))
        state.arrive(self._stack.database, self.layout)
        self._stack.start_all()

    def set_token_seconds(self, seconds: int) -> None:
        """Set the lifetime of new Keystone tokens (restarts Keystone, which takes seconds)."""
        self._stack.restart_identity(replace(self._tokens or Tokens(), keystone_seconds=seconds))

    def restart_compute(self) -> None:
        """Kill nova-compute and start it again; running guests still run."""
        self._stack.restart_compute()

    def stop(self) -> None:
        """Stop everything and release the ports; the folder stays."""
        self._exits.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
