"""A whole elastic cluster: real Slurm and RabbitMQ, the simulated cloud, and Lamplighter between.

The cloud boots a real slurmd when a server becomes ACTIVE, and kills it when the server stops.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Self

from producers.settings import FILE_NAME
from tests.testbed.broker import PrivateBroker
from tests.testbed.consumers import all_consume
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.simcloud.settings import HookSpec
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import Settings as SlurmSettings
from tests.testbed.waiting import until
from workers import topology
from workers.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
VHOST = "cluster"


@dataclass(frozen=True)
class Plan:
    """How the cluster is to be; times are seconds.

    Attributes:
        slurm: what is chosen of Slurm; the hooks are filled in.
        boot, stop: how long the cloud takes.
        latency: of each request to the cloud.
        groups: TOML of the groups; $nodes is filled in.
        slurm_toml: more lines of [slurm].
        clouds: TOML of more clouds; $auth_url and $project_id are filled in.
        absent: nodes that have no server at first.
    """

    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    boot: float = 3.0
    stop: float = 1.0
    latency: float = 0.02
    groups: str = '[groups.elastic]\nnodes = "$nodes"\ncloud = "simulated"'
    slurm_toml: str = ""
    clouds: str = ""
    absent: tuple[str, ...] = ()


class Cluster:
    """Use as a context manager: all of it runs inside, nothing of it outside.

    Args:
        folder: will hold all that is written; a short path.
        plan: how it is to be.
        say: told of each step of starting, in words.
    """

    def __init__(
        self, folder: Path, plan: Plan | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.folder = folder
        self.plan = plan or Plan()
        self._say = say or (lambda _text: None)
        self._stack = ExitStack()
        self.workers: Child | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        self._say("a private RabbitMQ")
        self.broker = self._stack.enter_context(PrivateBroker(self.folder / "broker"))
        self.broker.create_vhost(VHOST)
        self._say("a simulated OpenStack with a login provider as EGI's")
        self.cloud = self._stack.enter_context(SimCloud())
        slurm = replace(
            self.plan.slurm,
            resume=PROGRAMS / "lamplighter-resume",
            suspend=PROGRAMS / "lamplighter-suspend",
            resume_fail=PROGRAMS / "lamplighter-resume-fail",
        )
        self.slurm = PrivateSlurm(self.folder / "slurm", slurm)
        self._stack.callback(self.slurm.close)
        self._prepare_cloud()
        self.settings = self._configure()
        self._say("Lamplighter: tokens, power, audit, relay and slurm workers")
        self.start_workers()
        self._say("a private Slurm, all nodes powered down")
        self.slurm.start()

    def start_workers(self) -> None:
        """`lamplighter up`, until all workers have connected."""
        config = str(self.settings.path)
        self.workers = Child(
            [sys.executable, "-m", "ops.cli", "--config", config, "up"],
            log=self.folder / "lamplighter.log",
            cwd=ROOT,
        )
        self._stack.callback(self.workers.stop)
        until(self._consumed, 60, "the workers to consume their queues")

    def _consumed(self) -> bool:
        if self.workers is not None:
            self.workers.require_running()
        return all_consume(self.settings, topology.FEEDBACK_QUEUE)

    def _prepare_cloud(self) -> None:
        plan = self.plan
        self.cloud.set(boot_seconds=plan.boot, stop_seconds=plan.stop, latency_seconds=plan.latency)
        self.cloud.add_servers(n for n in self.slurm.settings.node_names if n not in plan.absent)
        node = [sys.executable, "-m", "tests.testbed.slurmnode", "{event}", "{name}"]
        self.cloud.set_hook(
            HookSpec(
                arguments=[*node, "--slurm-conf", str(self.slurm.conf)],
                log_file=str(self.folder / "power-hook.log"),
                environment={**MINIMAL_ENVIRONMENT, "PYTHONPATH": str(ROOT)},
            )
        )

    def _configure(self) -> Settings:
        """Write lamplighter.toml beside slurm.conf, where the hooks look for it."""
        folder = self.slurm.conf_dir
        secret = folder / "refresh.token"
        secret.touch(mode=0o600)
        secret.write_text(self.cloud.mint_refresh_token())
        password = folder / "broker.password"
        password.touch(mode=0o600)
        password.write_text(self.broker.admin.password)
        words = {
            "nodes": f"node[1-{self.plan.slurm.nodes}]",
            "auth_url": self.cloud.auth_url,
            "project_id": credentials.PROJECT_ID,
        }
        config = folder / FILE_NAME
        config.write_text(
            f"""
cluster = "demo"
[broker]
url = "amqp://{self.broker.admin.name}@{self.broker.host}:{self.broker.port}/{VHOST}"
password_file = "broker.password"
[hooks]
spool = "spool"
state = "clock"
log_file = "hooks.log"
[slurm]
resume_timeout = {self.plan.slurm.resume_timeout}
suspend_timeout = {self.plan.slurm.suspend_timeout}
{self.plan.slurm_toml}
[store]
url = "sqlite:///state.db"
audit_url = "sqlite:///audit.db"
[clouds.simulated]
auth_url = "{self.cloud.auth_url}"
project_id = "{credentials.PROJECT_ID}"
[clouds.simulated.source]
type = "oidc_refresh_token"
refresh_token_file = "refresh.token"
token_endpoint = "{self.cloud.token_endpoint}"
{Template(self.plan.clouds).substitute(words)}
{Template(self.plan.groups).substitute(words)}
"""
        )
        return load(config)
