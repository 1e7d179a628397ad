"""Carries out the faults of a plan on a site, each with its duration, and undoes them."""

import json
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from storm.plan import PlannedFault
from storm.site import Site, workers_of
from tests.testbed.cluster import VHOST
from tests.testbed.simcloud.effects import (
    Answer,
    Effect,
    FallsBack,
    GoesToError,
    Hang,
    NeverCompletes,
    Reset,
    Says,
)
from tests.testbed.simcloud.faults import Fault
from tests.testbed.slurm import SlurmError
from workers.broker.topology import RESUME_QUEUE

# What the cloud answers. A permanent no is a quota's or a policy's; all others must not end a request.
_ANSWERS: dict[str, Effect] = {
    "403": Answer(status=403),
    "400": Answer(status=400, message="Invalid input received"),
    "429": Answer(status=429, retry_after_seconds=2),
    "proxy": Answer(status=502, body="proxy"),
    "503-done": Answer(status=503, performed=True),
    "reset": Reset(),
    "reset-done": Reset(performed=True),
    "hang": Hang(seconds=3),
    "hang-done": Hang(seconds=7, performed=True),
    "nonsense": Says(text='{"servers": 7, "server": []}'),
}
_WORK: dict[str, Effect] = {
    "error": GoesToError(message="Hypervisor connection lost", after_seconds=1),
    "no_host": GoesToError(message="No valid host was found.", after_seconds=1),
    "never": NeverCompletes(),
    "back": FallsBack(after_seconds=1),
}
# Some calls are struck, not all: a fault of the cloud, not an outage.
_STRUCK = 0.5
_KINDS = ("compute", "actions", "lists", "create", "delete", "metadata")
# Answers that Nova gives to calls on servers only.
_OF_ACTIONS = frozenset({"403", "400", "404", "409", "503-done", "reset-done", "hang-done"})
_OPERATOR = {
    "replay": ("dead-letters", "replay", "--all", "--yes", "--reason", "storm"),
    "discard": ("dead-letters", "discard", "--all", "--yes", "--reason", "storm"),
    "snapshot": ("snapshot",),
    "drift": ("drift", "--fix"),
    "topology": ("topology", "apply"),
    "status": ("status", "--json"),
}


@dataclass
class Faults:
    """Methods named as the kinds of a plan's faults; `target` and `lasts` as there.

    Attributes:
        site: what they hit.
        log: one JSON object a line for each beginning and end.
        done: how many of each kind were carried out.
        cut_power: nodes and times at which a server was powered off behind Lamplighter's back, or
            a node was powered down in Slurm by the operator.
    """

    site: Site
    log: Path
    chance: random.Random
    done: dict[str, int] = field(default_factory=dict)
    cut_power: list[tuple[str, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _busy: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self, fault: PlannedFault) -> None:
        """Carry out a fault in a thread of its own, unless another one hits the same part now."""
        part = fault.kind if fault.kind in {"slurmctld", "clock", "operator"} else ""
        part = part or self._part(fault)
        with self._lock:
            if part in self._busy:
                return
            self._busy.add(part)
        thread = threading.Thread(target=self._carry_out, args=(fault, part), daemon=True)
        self._threads.append(thread)
        thread.start()

    def end(self, timeout: float) -> None:
        """Wait until all faults are undone.

        Raises:
            TimeoutError: a fault is not undone in time.
        """
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise TimeoutError(f"faults that do not end: {sorted(self._busy)}")
        self.site.simulated.clear_faults()

    @staticmethod
    def _part(fault: PlannedFault) -> str:
        if fault.kind in {"kill", "terminate", "freeze", "upgrade"}:
            return "workers" if fault.target in {"up", "all"} else f"worker {fault.target}"
        if fault.kind in {"broker", "partition"}:
            return "broker"
        return fault.kind

    def _carry_out(self, fault: PlannedFault, part: str) -> None:
        name = f"{fault.kind} {fault.target}"
        self._note(name, "begins", fault.lasts)
        try:
            getattr(self, fault.kind)(fault.target, fault.lasts)
        except Exception as error:  # noqa: BLE001 - the storm goes on; the summary shows it
            self.failed.append(f"{name}: {type(error).__name__}: {error}")
            self._note(name, f"failed: {error}")
        else:
            self.done[fault.kind] = self.done.get(fault.kind, 0) + 1
            self._note(name, "ended")
        finally:
            with self._lock:
                self._busy.discard(part)

    def _note(self, fault: str, what: str, lasts: float | None = None) -> None:
        line = json.dumps({"time": time.time(), "fault": fault, "what": what, "lasts": lasts})
        with self._lock, self.log.open("a") as file:
            file.write(f"{line}\n")

    # -- processes

    def kill(self, target: str, _lasts: float) -> None:
        """Kill -9; the supervisor starts a worker again, and we start the supervisor."""
        self._signal(target, signal.SIGKILL)

    def terminate(self, target: str, _lasts: float) -> None:
        """SIGTERM."""
        self._signal(target, signal.SIGTERM)

    def freeze(self, target: str, lasts: float) -> None:
        """SIGSTOP, longer than a lease; then SIGCONT."""
        found = self._process(target)
        if found is None:
            return
        found.send_signal(signal.SIGSTOP)
        try:
            time.sleep(lasts)
        finally:
            with suppress(psutil.NoSuchProcess):
                found.send_signal(signal.SIGCONT)

    def upgrade(self, _target: str, _lasts: float) -> None:
        """Restart all workers, one after the other."""
        for name in ("tokens", "audit", "power", "power2", "relay", "slurm", "snapshot", "resync"):
            self._signal(name, signal.SIGTERM)
            time.sleep(1.0)

    def kill_hook(self, _target: str, _lasts: float) -> None:
        """Kill the next hook while it works."""
        self.site.kill_next_hook()

    def _signal(self, target: str, number: signal.Signals) -> None:
        if target == "up":
            workers = self.site.workers
            if workers is None:
                return
            if number is signal.SIGKILL:
                workers.kill()  # with all its workers, as a host that loses its power
            else:
                workers.stop(40.0)
            self.site.start_up()
            return
        found = self._process(target)
        if found is not None:
            with suppress(psutil.NoSuchProcess):
                found.send_signal(number)

    def _process(self, worker: str) -> psutil.Process | None:
        """The process of a worker; None while its supervisor waits before it starts it again."""
        owner = self.site.second if worker == "power2" else self.site.workers
        return workers_of(owner).get("power" if worker == "power2" else worker)

    # -- broker, network, disks, clocks

    def broker(self, target: str, lasts: float) -> None:
        """Restart or kill the broker or a node of it; freeze one; close all connections."""
        nodes = self.site.cluster.nodes if self.site.cluster else [self.site.broker]
        node = self.chance.choice(nodes)
        if target == "connections":
            node.api.close_connections()
            return
        if target == "freeze":
            node.freeze()
            time.sleep(lasts)
            self._whole()
            return
        if target == "kill":
            node.kill()
            time.sleep(lasts)
        else:
            node.stop()
        node.start()
        self._whole()

    def partition(self, target: str, lasts: float) -> None:
        """Cut a node of the cluster off from the others."""
        cluster = self.site.cluster
        if cluster is None:
            raise RuntimeError("there is one broker only")
        is_leader = target == "leader"
        node = cluster.leader(VHOST, RESUME_QUEUE) if is_leader else cluster.nodes[0]
        cluster.cut_off(node)
        time.sleep(lasts)
        self._whole()

    def _whole(self) -> None:
        if self.site.cluster is not None:
            self.site.cluster.mend()

    def cut_broker(self, target: str, lasts: float) -> None:
        """Cut all connections to the broker, or let them hang."""
        for cut in self.site.broker_cuts:
            getattr(cut, target)()
        time.sleep(lasts)
        for cut in self.site.broker_cuts:
            cut.mend()

    def cut_cloud(self, target: str, lasts: float) -> None:
        """Cut all connections to the cloud, or let them hang."""
        getattr(self.site.cloud_cut, target)()
        time.sleep(lasts)
        self.site.cloud_cut.mend()

    def disk(self, target: str, lasts: float) -> None:
        """Fill a disk."""
        self.site.disks[target].fill()
        try:
            time.sleep(lasts)
        finally:
            self.site.disks[target].free()

    def clock(self, target: str, lasts: float) -> None:
        """Step the clock of hooks and workers, and later back."""
        self.site.clock.step(float(target))
        time.sleep(lasts)
        self.site.clock.step(0.0)

    # -- the cloud

    def answers(self, target: str, lasts: float) -> None:
        """Let half of some calls be answered so."""
        effect = _ANSWERS.get(target)
        kind = self.chance.choice(_KINDS)
        if target in _OF_ACTIONS and kind in {"compute", "lists"}:
            kind = "actions"
        self._inject(
            Fault(effect=effect or Answer(status=int(target)), kind=kind, probability=_STRUCK),
            lasts,
        )

    def work(self, target: str, lasts: float) -> None:
        """Let half of the accepted work end so."""
        self._inject(Fault(effect=_WORK[target], kind="compute", probability=_STRUCK), lasts)

    def _inject(self, fault: Fault, lasts: float) -> None:
        number = self.site.simulated.inject(fault)
        time.sleep(lasts)
        self.site.simulated.remove_fault(number)

    def outage(self, target: str, lasts: float) -> None:
        """Make a service, or all, unavailable."""
        cloud = self.site.simulated
        reset = self.chance.random() < _STRUCK
        if target == "all":
            cloud.outage(on=True, looks_like_reset=reset)
        else:
            services = {"compute": "compute", "identity": "identity", "oidc": "oidc"}
            cloud.outage(on=True, looks_like_reset=reset, services=[services[target]])  # type: ignore[list-item]
        time.sleep(lasts)
        cloud.outage(on=False)

    def blind(self, _target: str, lasts: float) -> None:
        """Let listings of changes show none."""
        self.site.simulated.set(hide_changes=True)
        time.sleep(lasts)
        self.site.simulated.set(hide_changes=False)

    def server(self, target: str, _lasts: float) -> None:
        """Let a server of a node that is on die, or start one of a node that is off."""
        status = "ACTIVE" if target == "dies" else "SHUTOFF"
        servers = self.site.simulated.servers().values()
        fitting = sorted(s.name for s in servers if s.status == status and not s.task_state)
        if not fitting:
            return
        name = self.chance.choice(fitting)
        if target == "dies":
            self.cut_power.append((name, time.time()))
        self.site.simulated.set_power(name, on=target == "runs")

    def tokens(self, target: str, lasts: float) -> None:
        """Revoke or expire tokens; or end the login, until the operator logs in again."""
        cloud = self.site.simulated
        if target == "revoke":
            cloud.revoke_tokens()
        elif target == "expire":
            cloud.expire_access_tokens()
            cloud.revoke_tokens()
        else:
            cloud.revoke_grants()
            cloud.revoke_tokens()
            time.sleep(lasts)
            self.log_in()

    def log_in(self) -> None:
        """Store a new login, as an operator does."""
        secret = self.site.slurm.conf_dir / "refresh.token"
        secret.write_text(self.site.simulated.mint_refresh_token())

    # -- Slurm and the operator

    def slurmctld(self, target: str, lasts: float) -> None:
        """Kill -9 and start, reconfigure, or restart slurmctld."""
        slurm = self.site.slurm
        if target == "reconfigure":
            slurm.scontrol("reconfigure")
        elif target == "kill":
            slurm.kill9_ctld()
            time.sleep(lasts)
            slurm.start_ctld()
        else:
            slurm.restart_ctld()

    def operator(self, target: str, lasts: float) -> None:
        """Give a command; those that hold or power a node undo it later."""
        if target in _OPERATOR:
            self.site.operator(*_OPERATOR[target])
            return
        node = self.chance.choice(self.site.slurm.settings.node_names)
        getattr(self, f"_operator_{target}")(node, lasts)

    def _operator_hold(self, node: str, lasts: float) -> None:
        self.site.operator("hold", node, "--reason", "storm")
        time.sleep(lasts)
        self.release(node)

    def release(self, nodes: str) -> None:
        """End holds, if there are any; try again while the store is away."""
        done = self.site.operator("release", nodes)
        for _ in range(20):
            if done.returncode == 0 or "none of these nodes" in done.stderr:
                return
            time.sleep(1.0)
            done = self.site.operator("release", nodes)
        raise RuntimeError(f"the hold of {nodes} cannot be released: {done.stderr}")

    def _operator_retire(self, node: str, _lasts: float) -> None:
        reason = ("--reason", "storm", "--timeout", "20s")
        self.site.operator("nodes", "retire", node, "--yes", *reason)
        if node in self.site.plan.strategies and self.site.plan.strategies[node] != "delete":
            self.site.operator("nodes", "deploy", node, *reason)

    def _operator_power_up(self, node: str, _lasts: float) -> None:
        with suppress(SlurmError):
            self.site.slurm.scontrol("update", f"NodeName={node}", "State=POWER_UP")

    def _operator_power_down(self, node: str, _lasts: float) -> None:
        self.cut_power.append((node, time.time()))
        with suppress(SlurmError):
            self.site.slurm.scontrol(
                "update", f"NodeName={node}", "State=POWER_DOWN_FORCE", "Reason=storm"
            )


def carry_out(
    faults: Faults, plan: tuple[PlannedFault, ...], began: float, tick: Callable[[], None]
) -> None:
    """Begin each fault at its time; `tick` is called several times a second."""
    for fault in plan:
        while time.monotonic() < began + fault.at:
            tick()
            time.sleep(0.1)
        faults.begin(fault)
