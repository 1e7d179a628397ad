"""The files of systemd: a unit for each worker, one target, users and folders. Pure.

`systemd-analyze security --offline=true` rates each unit below 2.5 (a test checks it).
"""

import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from schemas.roles import Role

GROUP = "lamplighter"
WORKERS_USER = "lamplighter"
TOKENS_USER = "lamplighter-tokens"
CONFIG = Path("/etc/lamplighter")
USERS = CONFIG / "broker"
DATABASE = CONFIG / "database"
CLOUD_SECRET = CONFIG / "cloud.secret"
CLOUD_CA = CONFIG / "cloud-ca.pem"
STATE = Path("/var/lib/lamplighter")
# Beside it, not below: SlurmUser may rename what is there.
AUDIT = Path("/var/lib/lamplighter-audit")
SPOOL = Path("/var/spool/lamplighter")
LOG = Path("/var/log/lamplighter")
RUN = Path("/run/lamplighter")
# Of the installation that runs.
PROGRAMS = Path(sys.prefix) / "bin"
# What a unit does not see (ProtectHome=, PrivateTmp=).
HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 - not written
INSTALL_AGAIN = (
    "install Lamplighter into /opt/lamplighter, with /usr/bin/python3 (docs/quick-start.md)"
)


def remedy_for(closed: Path, elsewhere: str = INSTALL_AGAIN) -> str:
    """What lets other users run the installation, if what they cannot use belongs to it."""
    return f"chmod -R a+rX {sys.prefix}" if closed.is_relative_to(sys.prefix) else elsewhere


@dataclass(frozen=True, slots=True)
class Service:
    """A worker's unit.

    Attributes:
        name: of the worker; the unit is lamplighter-NAME.service.
        summary: its Description.
        user: that it runs as; None for SlurmUser.
        writes: the folders that it changes.
        command: the words after `lamplighter`.
        notifies: whether it tells systemd that it has started, and that it lives.
        reads_slurmctld: whether it reads slurmctld's environment: Linux permits it only to the same user and group.
    """

    name: str
    summary: str
    user: str | None
    writes: tuple[Path, ...]
    command: str
    notifies: bool = True
    reads_slurmctld: bool = False

    @property
    def unit(self) -> str:
        """The unit's name."""
        return f"lamplighter-{self.name}.service"


SERVICES = (
    Service("tokens", "token service", TOKENS_USER, (STATE,), "worker tokens"),
    Service("power", "power worker", WORKERS_USER, (STATE,), "worker power"),
    Service("audit", "audit worker", WORKERS_USER, (STATE, AUDIT), "worker audit"),
    Service("resync", "resync worker", WORKERS_USER, (STATE,), "worker resync"),
    Service("notify", "notify worker", WORKERS_USER, (STATE,), "worker notify"),
    Service("console", "web console", WORKERS_USER, (STATE, AUDIT), "console", notifies=False),
    Service(
        "relay", "relay of the hooks' spool", None, (SPOOL, STATE, LOG), "relay", notifies=False
    ),
    Service("slurm", "slurm worker", None, (STATE, RUN), "worker slurm", reads_slurmctld=True),
    Service("snapshot", "snapshot worker", None, (STATE, SPOOL), "worker snapshot"),
)
# Who may read the passwords of each role; what is not here belongs to root.
_OWNERS = {
    **dict.fromkeys((Role.HOOK, Role.RELAY, Role.SLURM, Role.SNAPSHOT), None),
    **dict.fromkeys((Role.POWER, Role.AUDIT, Role.RESYNC, Role.NOTIFY, Role.CONSOLE), WORKERS_USER),
    Role.TOKENS: TOKENS_USER,
}
# The workers that can run on any host, and those that the target of slurmctld's host starts; there
# the others are enabled by hand.
ANYWHERE = tuple(service.name for service in SERVICES if service.user is not None)
DEFAULT = frozenset({"tokens", "power", "audit", "resync", "relay", "slurm", "snapshot"})

# A migration of the stores at the start may take long. SIGQUIT lets a worker that hangs write where.
_NOTIFY = """\
Type=notify
TimeoutStartSec=infinity
WatchdogSec=15min
WatchdogSignal=SIGQUIT
TimeoutAbortSec=10
"""
_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers={private_users}
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
LimitCORE=0
LimitNOFILE=65536
UMask=0007"""


def password_owner(role: Role, slurm_user: str) -> str:
    """The user that runs what logs in to the broker as this role."""
    return _OWNERS.get(role, "root") or slurm_user


def password_mode(role: Role) -> int:
    """Who may read the password of a role: its user alone; the reader's, all of the group."""
    return 0o640 if role is Role.READER else 0o600


def unit(service: Service, program: Path, slurm_user: str | None) -> str:
    """The unit of a worker.

    `program` is the absolute path of `lamplighter`; `slurm_user` is None on a host without
    slurmctld.
    """
    beside_slurm = service.user is None
    # Slurm's commands, and munge, compare users with those of other processes
    hardening = _HARDENING.format(private_users="no" if beside_slurm else "yes")
    return f"""\
[Unit]
Description=Lamplighter: {service.summary}
After=network-online.target rabbitmq-server.service{" slurmctld.service" if beside_slurm else ""}
Wants=network-online.target
PartOf=lamplighter.target

[Service]
{_NOTIFY if service.notifies else ""}ExecStart={program} {service.command}
Environment=LAMPLIGHTER_CONFIG={CONFIG}/lamplighter.toml PGSERVICEFILE={CONFIG}/pg_service.conf
User={service.user or slurm_user}
{"SupplementaryGroups" if service.reads_slurmctld else "Group"}={GROUP}
Restart=always
RestartSec=5
ReadWritePaths={" ".join(f"-{folder}" for folder in service.writes)}
{hardening}

[Install]
WantedBy=lamplighter.target
"""


def target(workers: Container[str] = DEFAULT) -> str:
    """The target that starts and stops all workers of this host."""
    wanted = " ".join(service.unit for service in SERVICES if service.name in workers)
    return f"""\
[Unit]
Description=Lamplighter: all workers of this host
Wants={wanted}

[Install]
WantedBy=multi-user.target
"""


def sysusers(slurm_user: str | None) -> str:
    """The users and the group, for sysusers.d."""
    member = f"m {slurm_user} {GROUP}\n" if slurm_user else ""
    return f"""\
g {GROUP} -
u {WORKERS_USER} -:{GROUP} "Lamplighter's workers" {STATE}
u {TOKENS_USER} -:{GROUP} "Lamplighter's token service" {STATE}
{member}"""


def tmpfiles(slurm_user: str | None) -> str:
    """The folders with owners and modes, and the SQLite stores that several users use, for tmpfiles.d.

    Workers of SlurmUser write the state store; the audit log is the workers' own, and their group reads it.
    """
    shared = (
        "".join(f"d {folder} 0750 root {GROUP}\n" for folder in (CONFIG, USERS, DATABASE))
        + f"d {STATE} 2770 root {GROUP}\n"
        + f"d {AUDIT} 0750 {WORKERS_USER} {GROUP}\n"
    )
    if slurm_user is None:
        return shared
    return f"""\
{shared}d {STATE}/clock 0700 {slurm_user} {GROUP}
f {STATE}/state.db 0660 {WORKERS_USER} {GROUP}
f {AUDIT}/audit.db 0640 {WORKERS_USER} {GROUP}
d {SPOOL} 0700 {slurm_user} {GROUP}
d {LOG} 0750 {slurm_user} {GROUP}
d {RUN} 0750 {slurm_user} {GROUP}
"""


PROLOG = "lamplighter-prolog"
PROLOG_DROP_IN = Path("slurmctld.service.d/lamplighter-prolog.conf")


def prolog_drop_in(programs: Path) -> str:
    """What slurmctld's unit needs for lamplighter-prolog (docs/prolog.md).

    `programs` is the folder of Lamplighter's programs.
    """
    return f"""\
[Service]
# Without it, a slurmctld before 26.05 can hang at its end while many jobs wait in their prolog.
Environment=GLIBC_TUNABLES=glibc.pthread.stack_cache_size=2147483648
ExecStop=-{programs / PROLOG} --release
"""


def logrotate(slurm_user: str) -> str:
    """The rotation of the hooks' log; the workers' logs go to the journal."""
    return f"""\
{LOG}/*.log {{
    weekly
    rotate 8
    compress
    missingok
    notifempty
    su {slurm_user} {GROUP}
    create 0640 {slurm_user} {GROUP}
}}
"""
