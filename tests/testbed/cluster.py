"""A whole elastic cluster: real Slurm and RabbitMQ, a cloud, and Lamplighter between them.

The cloud starts a real slurmd when a server becomes ACTIVE, and kills it when the server stops. The
cloud is simulated, or a real Keystone and Nova of which only the hypervisor is simulated.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Self

from msgspec import structs

from producers.config_file import FILE_NAME
from tests.testbed.broker import PrivateBroker
from tests.testbed.broker_roles import BrokerRoles
from tests.testbed.consumers import all_consume
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child, tail
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.simcloud.settings import HookSpec
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.stores import STORES
from tests.testbed.waiting import until
from workers.broker import topology
from workers.config.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
VHOST = "cluster"
_NO_IMAGE = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class ClusterPlan:
    """The properties of a cluster; times are seconds.

    Attributes:
        slurm: settings of Slurm; the hooks are filled in.
        boot, stop: time that the cloud takes to start or stop a server.
        latency: time of each request to the simulated cloud.
        strategies: by node name; other nodes have the strategy `stop`.
        real: whether the cloud is a real OpenStack.
        group: more lines of each group made from `strategies`.
        groups: TOML of all groups, instead of those made from `strategies`.
        clouds: TOML of more clouds. In both, $auth_url and $project_id are filled in.
        slurm_toml: more lines of [slurm].
        more: more tables.
        snapshot_interval, grace: settings of resync.
        absent: nodes that have no server at first.
        prolog: whether jobs wait in lamplighter-prolog for their nodes.
        stores: files of state store and audit log, in the folder of slurm.conf.
    """

    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    boot: float = 3.0
    stop: float = 1.0
    latency: float = 0.02
    strategies: Mapping[str, str] = field(default_factory=dict)
    real: bool = False
    group: str = ""
    groups: str = ""
    clouds: str = ""
    slurm_toml: str = ""
    snapshot_interval: float = 3.0
    grace: float = 2.0
    more: str = ""
    absent: tuple[str, ...] = ()
    prolog: bool = False
    stores: tuple[str, str] = ("state.db", "audit.db")


class Cluster:
    """Use as a context manager: the cluster runs inside the `with` block.

    Args:
        folder: for all files; a short path.
        plan: the properties of the cluster.
        say: called with a description of each step of the start.
    """

    def __init__(
        self,
        folder: Path,
        plan: ClusterPlan | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = folder
        self.plan = plan or ClusterPlan()
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
        self.broker = self._open_broker()
        self.broker.create_vhost(VHOST)
        self.cloud: SimCloud | RealOpenStack
        if self.plan.real:
            self._say("a real Keystone, Placement and Nova, and a login provider as EGI's")
            self.cloud = self._stack.enter_context(RealOpenStack(self.folder / "os"))
        else:
            self._say("a simulated OpenStack with a login provider as EGI's")
            self.cloud = self._stack.enter_context(SimCloud())
        slurm = replace(
            self.plan.slurm,
            resume=self._hook_program("resume"),
            suspend=self._hook_program("suspend"),
            resume_fail=self._hook_program("resume-fail"),
        )
        if self.plan.prolog:
            program = site_prolog(self.folder / "site-prolog", self.folder / "waiting")
            slurm = replace(slurm, extra_conf=(*slurm.extra_conf, f"PrologSlurmctld={program}"))
        self.slurm = PrivateSlurm(self.folder / "slurm", slurm)
        self._stack.callback(self.slurm.close)
        self._prepare_cloud()
        self.settings = self._configure()
        self._say("Lamplighter: its workers")
        self.start_workers()
        self._say("a private Slurm, all nodes powered down")
        self.slurm.start()

    def _open_broker(self) -> PrivateBroker:
        return self._stack.enter_context(PrivateBroker(self.folder / "broker"))

    def _hook_program(self, kind: str) -> Path:
        """What slurmctld runs: the hook, or a program that runs it."""
        return PROGRAMS / f"lamplighter-{kind}"

    def _broker_table(self) -> str:
        """The table [broker] of the programs, inline."""
        return self.roles.table

    def _cloud_address(self, url: str) -> str:
        """Where the workers reach an address of the cloud."""
        return url

    def _worker_environment(self) -> Mapping[str, str] | None:
        return None

    def _store_urls(self) -> tuple[str, str]:
        """The SQLAlchemy URLs of state store and audit log."""
        return STORES.pair(self.slurm.conf_dir, *self.plan.stores)

    def start_workers(self) -> None:
        """Run `lamplighter up` and wait until all workers consume their queues.

        Raises:
            RuntimeError: it has ended; the message holds the end of its log.
            TimeoutError: the workers do not consume; the message holds the end of their log.
        """
        config = str(self.settings.path)
        self.workers = Child(
            [sys.executable, "-m", "ops.cli.main", "--config", config, "up"],
            log=self.folder / "lamplighter.log",
            env=self._worker_environment(),
            cwd=ROOT,
        )
        self._stack.callback(self.workers.stop)
        try:
            until(self._consumed, 60, "the workers to consume their queues")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{tail(self.workers.log)}") from None

    def _consumed(self) -> bool:
        if self.workers is not None:
            self.workers.require_running()
        return all_consume(self.settings, topology.FEEDBACK_QUEUE, topology.SNAPSHOT_QUEUE)

    def _prepare_cloud(self) -> None:
        plan = self.plan
        deleted = {node for node, strategy in plan.strategies.items() if strategy == "delete"}
        absent = deleted.union(plan.absent)
        made = [node for node in self.slurm.settings.node_names if node not in absent]
        if isinstance(self.cloud, SimCloud):
            self.cloud.set(
                boot_seconds=plan.boot, stop_seconds=plan.stop, latency_seconds=plan.latency
            )
            self.cloud.add_servers(made)
        else:
            self.cloud.add_servers(made, networks="none")
            self.cloud.set_driver(boot_seconds=plan.boot, stop_seconds=plan.stop)
        self.cloud.set_hook(self.hook)

    @property
    def hook(self) -> HookSpec:
        """The command that the cloud runs when a server's power changes: it starts or kills a slurmd."""
        node = [sys.executable, "-m", "tests.testbed.slurmnode", "{event}", "{name}"]
        return HookSpec(
            arguments=[*node, "--slurm-conf", str(self.slurm.conf)],
            log_file=str(self.folder / "power-hook.log"),
            environment={**MINIMAL_ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        )

    def _configure(self) -> Settings:
        """Write lamplighter.toml beside slurm.conf, where the hooks find it.

        Each program uses its role's broker user; the test bed's settings are an administrator's.
        """
        folder = self.slurm.conf_dir
        secret = folder / "refresh.token"
        secret.touch(mode=0o600)
        secret.write_text(self.cloud.mint_refresh_token())
        for name in ("spool", "clock"):  # commands that run as root require them
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        password = folder / "broker.password"
        password.touch(mode=0o600)
        password.write_text(self.broker.admin.password)
        self.roles = BrokerRoles(self.broker, VHOST, folder)
        self._stores = self._store_urls()
        config, admin = folder / FILE_NAME, folder / "test_bed.toml"
        user, place = self.broker.admin.name, f"{self.broker.host}:{self.broker.port}/{VHOST}"
        admin.write_text(
            self._toml(
                f'broker = {{ url = "amqp://{user}@{place}", password_file = "broker.password" }}'
            )
        )
        config.write_text(self._toml(self._broker_table()))
        self.roles.apply(config)
        return structs.replace(load(admin), path=config)

    def _toml(self, broker: str) -> str:
        return f"""
cluster = "demo"
{broker}
[hooks]
spool = "spool"
state = "clock"
log_file = "hooks.log"
[slurm]
resume_timeout = {self.plan.slurm.resume_timeout}
suspend_timeout = {self.plan.slurm.suspend_timeout}
{self.plan.slurm_toml}
{f'prolog = "{self.folder}/waiting"' if self.plan.prolog else ""}
snapshot_interval = {self.plan.snapshot_interval}
[resync]
grace = {self.plan.grace}
[store]
url = "{self._stores[0]}"
audit_url = "{self._stores[1]}"
[clouds.simulated]
auth_url = "{self._cloud_address(self.cloud.auth_url)}"
project_id = "{self.project_id}"
[clouds.simulated.source]
type = "oidc_refresh_token"
refresh_token_file = "refresh.token"
token_endpoint = "{self._cloud_address(self.cloud.token_endpoint)}"
{self._filled(self.plan.clouds)}
{self._filled(self.plan.groups) or self._groups()}
{self.plan.more}
"""

    @property
    def simulated(self) -> SimCloud:
        """The simulated cloud.

        Raises:
            TypeError: this cluster's cloud is a real one.
        """
        if not isinstance(self.cloud, SimCloud):
            raise TypeError("this cluster's cloud is a real one")
        return self.cloud

    @property
    def project_id(self) -> str:
        """The project of the nodes."""
        return credentials.PROJECT_ID if isinstance(self.cloud, SimCloud) else self.cloud.project_id

    def _filled(self, toml: str) -> str:
        words = {"auth_url": self.cloud.auth_url, "project_id": self.project_id}
        return Template(toml).substitute(words)

    def _groups(self) -> str:
        """One group per strategy."""
        image = _NO_IMAGE if isinstance(self.cloud, SimCloud) else self.cloud.image_id
        by_strategy: dict[str, list[str]] = {}
        for node in self.slurm.settings.node_names:
            by_strategy.setdefault(self.plan.strategies.get(node, "stop"), []).append(node)
        return "".join(
            f'[groups.{name}]\nnodes = "{",".join(nodes)}"\ncloud = "simulated"\nstrategy = "{name}"\n'
            f"deploy_wait = 1.0\n{self.plan.group}\n"
            f'[groups.{name}.server]\nimage = "{image}"\nflavor = "m1.tiny"\nnetworks = ["none"]\n'
            for name, nodes in by_strategy.items()
        )


def site_prolog(path: Path, folder: Path) -> Path:
    """Write a PrologSlurmctld that calls lamplighter-prolog with its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {PROGRAMS}/lamplighter-prolog {folder}\n")
    path.chmod(0o755)
    return path
