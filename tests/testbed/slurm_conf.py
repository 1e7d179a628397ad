"""The configuration of a private Slurm: its settings, and the files made from them."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

NOTHING = Path("/usr/bin/true")


@dataclass(frozen=True)
class SlurmSettings:
    """The settings that a test can choose; times are whole seconds.

    Attributes:
        nodes: Number of elastic nodes: node1, node2, ... in partition `cloud`, all powered down at
            first.
        always_on: Whether there is also static1, in partition `static`, which is never suspended.
        resume: ResumeProgram; like the next two, an absolute path.
        suspend: SuspendProgram.
        resume_fail: ResumeFailProgram.
        suspend_time: Idle time after which a node is suspended; Slurm checks every 10 s.
        suspend_timeout: Time after which Slurm regards a suspended node as powered off.
        resume_timeout: Time within which a resumed node must register.
        cred_expire: Lifetime of credentials (at least 5). Requeued jobs are held one second
            longer; Slurm's own default is 120.
        slurmctld_parameters: SlurmctldParameters, such as `idle_on_node_suspend`.
        extra_conf: More lines of slurm.conf; they override the ones written here.
        environment: More variables of slurmctld's environment.
    """

    nodes: int = 2
    always_on: bool = False
    resume: Path = NOTHING
    suspend: Path = NOTHING
    resume_fail: Path = NOTHING
    suspend_time: int = 20
    suspend_timeout: int = 5
    resume_timeout: int = 60
    cred_expire: int = 15
    slurmctld_parameters: str = ""
    extra_conf: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check what Slurm itself only logs.

        Raises:
            ValueError: Slurm would refuse a program and therefore switch power saving off.
        """
        for field in ("resume", "suspend", "resume_fail"):
            path: Path = getattr(self, field)
            if not path.is_absolute():
                raise ValueError(f"{field}: {path} must be an absolute path")
            if not os.access(path, os.X_OK):
                raise ValueError(f"{field}: {path} must be an executable file")
            if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ValueError(f"{field}: {path} must not be writable by others: chmod go-w")

    @property
    def node_names(self) -> list[str]:
        """The names of the elastic nodes."""
        return [f"node{number}" for number in range(1, self.nodes + 1)]


@dataclass(frozen=True)
class Layout:
    """The files of a private Slurm, all below one folder."""

    folder: Path

    @property
    def conf_dir(self) -> Path:
        """The folder of slurm.conf; programs run by Slurm find their own configuration here."""
        return self.folder / "conf"

    @property
    def conf(self) -> Path:
        """The value of SLURM_CONF."""
        return self.conf_dir / "slurm.conf"

    @property
    def munge(self) -> Path:
        """The folder of the private munged."""
        return self.folder / "munge"

    @property
    def socket(self) -> Path:
        """The socket of the private munged."""
        return self.munge / "munge.socket"

    @property
    def log_dir(self) -> Path:
        """The folder of the daemons' logs, slurmctld's working directory."""
        return self.folder / "log"

    @property
    def output_dir(self) -> Path:
        """The folder of the jobs' output, in JOBID.out."""
        return self.folder / "output"

    def create(self) -> None:
        """Create the folders."""
        for name in ("conf", "munge", "state", "spool", "log", "output", "nodes"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # munged requires that all users can reach the folder of its socket.
        self.munge.chmod(0o755)


def slurm_conf(
    settings: SlurmSettings, layout: Layout, host: str, control_port: int, node_ports: range
) -> str:
    """Return slurm.conf for Slurm 22.05 and later.

    Args:
        settings: The settings that the test chose.
        layout: The files.
        host: The host name, in its short form, that slurmctld sees.
        control_port: slurmctld's port.
        node_ports: One port for each elastic node, and one for the node that is always on.
    """
    user = pwd.getpwuid(os.geteuid()).pw_name
    names = [*settings.node_names, *(["static1"] if settings.always_on else [])]
    lines = [
        "ClusterName=testbed",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={control_port}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.socket},cred_expire={settings.cred_expire}",
        "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",
        f"StateSaveLocation={layout.folder}/state",
        f"SlurmdSpoolDir={layout.folder}/spool/%n",
        f"SlurmctldPidFile={layout.folder}/slurmctld.pid",
        f"SlurmdPidFile={layout.folder}/spool/%n.pid",
        f"SlurmctldLogFile={layout.log_dir}/slurmctld.log",
        f"SlurmdLogFile={layout.log_dir}/slurmd-%n.log",
        "SlurmctldDebug=debug",
        "DebugFlags=Power",
        # No cgroups, no accounting and no mail: tests do not need them, and they need a real machine.
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "MpiDefault=none",
        f"MailProg={NOTHING}",
        # Nodes have the resources configured here, not those of the machine.
        "SlurmdParameters=config_overrides",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        "SchedulerParameters=sched_interval=5,bf_interval=5",
        "ReturnToService=2",
        "SlurmdTimeout=30",
        "TreeWidth=65533",
        # Otherwise 22.05 hides powered-down nodes from sinfo and scontrol.
        "PrivateData=cloud",
        f"ResumeProgram={settings.resume}",
        f"SuspendProgram={settings.suspend}",
        f"ResumeFailProgram={settings.resume_fail}",
        f"SuspendTime={settings.suspend_time}",
        f"SuspendTimeout={settings.suspend_timeout}",
        f"ResumeTimeout={settings.resume_timeout}",
        "SuspendRate=0",
        "ResumeRate=0",
    ]
    if settings.slurmctld_parameters:
        lines.append(f"SlurmctldParameters={settings.slurmctld_parameters}")
    for name, port in zip(names, node_ports, strict=True):
        state = "UNKNOWN" if name == "static1" else "CLOUD"
        lines.append(
            f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs=2 RealMemory=1000 State={state}"
        )
    lines.append(f"PartitionName=cloud Nodes={','.join(settings.node_names)} Default=YES")
    if settings.always_on:
        lines += ["SuspendExcNodes=static1", "PartitionName=static Nodes=static1"]
    return "\n".join([*lines, *settings.extra_conf, ""])


def cgroup_conf(version: tuple[int, int]) -> str | None:
    """Return cgroup.conf; None if that version of Slurm, such as (22, 5), does not need it.

    From 23.02 on, slurmd starts a cgroup plugin even if it is not used; 22.05 does not know the
    option that disables it.
    """
    return "CgroupPlugin=disabled\n" if version >= (23, 2) else None
