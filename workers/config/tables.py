"""Defines lamplighter.toml's tables for the workers, the console, metrics and logs. Durations are seconds."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from producers.addresses import database_problem, is_loopback
from workers.config.listen import host_and_port, is_ip
from workers.config.types import Count, Seconds, Table, Text

# Each kind of process has its own port for metrics from the first one on.
_MOST_METRICS_PORT = 65_500
# A header's name (RFC 9110, "Tokens"), and the content of Host.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
# psycopg is the one driver of PostgreSQL whose errors and passwords are understood
_DATABASE = re.compile(r"sqlite:///[^?]|postgresql(\+psycopg)?://")


class SlurmSettings(Table, frozen=True):
    """Slurm, and what is reported to it.

    Attributes:
        resume_timeout, suspend_timeout: times after which requests expire; the same as in slurm.conf.
        feedback: whether `lamplighter up` runs the slurm worker; by default, only if Slurm's
            commands and slurm.conf are found.
        conf: slurm.conf; by default the one beside this file, else where Slurm's commands find it.
        bin: the folder of scontrol and squeue; by default they are searched for.
        timeout: time limit of a Slurm command.
        set_addresses: whether to set a node's address in Slurm after its boot.
        return_after: time from a failed boot to the node's return to service; doubled with each
            further failure in a row.
        return_at_most: the maximum of that time.
        give_back_after: how long a job may wait for an unreachable cloud before it is requeued.
        snapshot_interval: time between two snapshots of all nodes for the resync worker.
        prolog: the folder in which lamplighter-prolog lets jobs wait for their nodes, such as
            /run/lamplighter/prolog, if it is slurm.conf's PrologSlurmctld.
        prolog_slots: how many jobs may wait there at once; by default what slurmctld tolerates: 10, or
            40 from 23.11 on; 1,000 from 26.05 on, or with glibc 2.34 and the drop-in of
            `init --prolog`.
        uws_jobdata: OPUS's SLURM_JOBDATA_PATH, which shows the UWS job that a job runs for.
    """

    resume_timeout: Count = 600
    suspend_timeout: Count = 60
    feedback: bool | None = None
    conf: Path | None = None
    bin: Path | None = None
    timeout: Seconds = 30.0
    set_addresses: bool = False
    return_after: Seconds = 300.0
    return_at_most: Seconds = 7200.0
    give_back_after: Seconds = 300.0
    snapshot_interval: Seconds = 60.0
    prolog: Path | None = None
    prolog_slots: Count | None = None
    uws_jobdata: str | None = None

    def __post_init__(self) -> None:
        if self.uws_jobdata is not None and not self.uws_jobdata.startswith("/"):
            raise ValueError("uws_jobdata must be an absolute path, like OPUS's SLURM_JOBDATA_PATH")


class ResyncSettings(Table, frozen=True):
    """How Slurm's snapshots are used.

    Attributes:
        enabled: whether suspends are checked against snapshots, and drift is repaired; by default,
            only if Slurm's commands and slurm.conf are found or the store holds a snapshot.
        grace: how long a difference from Slurm's state must last before it is repaired; a node in use
            that is off is powered on at once.
        stale_after: the age above which a snapshot is not used; by default three intervals.
        repeat_after: time until a repair without effect is requested again; doubled each time, up
            to an hour.
        delete_strays: whether stray servers (with our tags, of no node) are deleted after the grace.
    """

    enabled: bool | None = None
    grace: Annotated[float, msgspec.Meta(ge=0, le=315_360_000)] = 30.0
    stale_after: Seconds | None = None
    repeat_after: Seconds = 300.0
    delete_strays: bool = False


class StoreSettings(Table, frozen=True):
    """The databases of this cluster alone, as SQLAlchemy URLs; by default two SQLite files.

    In a URL of PostgreSQL, `{role}` stands for the role of the process: a user for each.

    Attributes:
        url: the state of nodes and requests.
        audit_url: the audit log.
        insecure: whether PostgreSQL's certificate may stay unchecked. Otherwise a URL with another
            host, or with a service, ends with sslmode=verify-full (or verify-ca).
    """

    url: str = "sqlite:////var/lib/lamplighter/state.db"
    audit_url: str = "sqlite:////var/lib/lamplighter/audit.db"
    insecure: bool = False

    def __post_init__(self) -> None:
        for name, url in (("url", self.url), ("audit_url", self.audit_url)):
            if not _DATABASE.match(url):
                raise ValueError(
                    f"{name} must begin with sqlite:///FILE or postgresql+psycopg:// (docs/configuration.md)"
                )
            if (
                problem := database_problem(url, insecure=self.insecure, environ=os.environ)
            ) is not None:
                raise ValueError(f"{name} {problem}")


class PowerSettings(Table, frozen=True):
    """The power worker.

    Attributes:
        prefetch: unacknowledged deliveries per work queue, and thus pending nodes.
        poll_interval: time between two listings of a cloud that has pending nodes.
        api_timeout: time limit of a call to a cloud; a call is made only if the lease lasts longer.
        lease: how long a worker owns a node without renewal.
        hold: a delivery held longer than this is parked (RabbitMQ closes consumers after 30 min).
        attempts: failed attempts before a request becomes a dead letter.
        clock_ahead: a generation further ahead of the time and of the hooks' clock than this waits.
        keep_outcomes: how long the store keeps the outcomes of ended rounds, at least; an outcome that
            the audit log does not hold is kept until it does.
    """

    prefetch: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 20_000
    poll_interval: Seconds = 1.0
    api_timeout: Seconds = 20.0
    lease: Seconds = 60.0
    hold: Seconds = 900.0
    attempts: Count = 5
    clock_ahead: Seconds = 300.0
    keep_outcomes: Seconds = 30 * 86_400.0

    def __post_init__(self) -> None:
        if self.lease < 2 * self.api_timeout:
            raise ValueError("lease must be at least twice api_timeout, or no call can be made")


class TokenSettings(Table, frozen=True):
    """The token service.

    Attributes:
        key_file: 32 random bytes (base64) that encrypt rotated refresh tokens in the store;
            created at the first start.
        service_user: the broker user of the token service; replies of other users are refused.
        allowed_users: broker users that may request tokens; by default those of the roles that call
            clouds, or without [broker.users] the one user of the broker's URL.
        timeout: time limit of a request for a token.
    """

    key_file: Path = Path("token.key")
    service_user: Text | None = None
    allowed_users: tuple[Text, ...] = ()
    timeout: Seconds = 10.0


class AuditSettings(Table, frozen=True):
    """The audit worker.

    Attributes:
        key_file: signs the log's heads (Ed25519, PEM); created at the first start, with its public
            half beside it as key_file.pub.
        heads_file: signed heads are appended to it; copy it to another host.
        heads_every: time between two heads, while records are written.
        keep: the age below which `lamplighter audit prune` drops no record; above power.keep_outcomes.
    """

    key_file: Path = Path("audit.key")
    heads_file: Path = Path("audit.heads")
    heads_every: Seconds = 300.0
    keep: Seconds = 180 * 86_400.0


class LogSettings(Table, frozen=True):
    """Structured logs.

    Attributes:
        format: JSON lines, or coloured text for a terminal.
        level: the least severe events that are logged.
    """

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class MetricsSettings(Table, frozen=True):
    """Metrics for Prometheus.

    Attributes:
        listen: host and first port; each kind of process has its own port from there on
            (docs/metrics.md lists them); without it there are no metrics.
        insecure: whether other hosts may read them, unencrypted and without a login.
    """

    listen: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.listen is not None:
            self.address(self.listen)

    def address(self, text: str) -> tuple[str, int]:
        """Host and first port of an address at which metrics may be read; port 0 is any free port.

        Raises:
            ValueError: it is not an address, or others could read them there.
        """
        host, port = host_and_port(text, "127.0.0.1:9464", least=0, most=_MOST_METRICS_PORT)
        if not self.insecure and not is_loopback(host):
            raise ValueError(
                f"listen: {host} lets other hosts read the metrics unencrypted and without a login: "
                "write 127.0.0.1, or insecure = true in [metrics]"
            )
        return host, port


class ProxySettings(Table, frozen=True):
    """A proxy that authenticates users.

    Attributes:
        address: its IP address.
        header: the header that names the user.
        secret_file: holds the secret with which the proxy shows that it is the proxy, in the header
            X-Lamplighter-Proxy.
    """

    address: str
    header: str
    secret_file: Path

    def __post_init__(self) -> None:
        if not is_ip(self.address):
            raise ValueError("address must be the proxy's IP address, such as 127.0.0.1")
        if not _HEADER.fullmatch(self.header):
            raise ValueError("header must be the name of a header, such as X-Remote-User")


class ConsoleSettings(Table, frozen=True):
    """The web console.

    Attributes:
        listen: host and port.
        hosts: further host names in requests, such as a proxy's.
        operators_file: who may act (`lamplighter console operator NAME`); None for nobody.
        proxy: a proxy that authenticates users.
        login_to_read: whether reading needs a login too; by default, only if other hosts can
            connect.
    """

    listen: str = "127.0.0.1:8617"
    hosts: tuple[str, ...] = ()
    operators_file: Path | None = None
    proxy: ProxySettings | None = None
    login_to_read: bool | None = None

    def __post_init__(self) -> None:
        self.address()
        for name in self.hosts:
            if not _HOST.fullmatch(name):
                raise ValueError(
                    f"hosts: {name!r} is not as browsers send it: write a host name alone, with :PORT if it is not"
                    " the usual one"
                )

    def address(self) -> tuple[str, int]:
        """Host and port of `listen`; ValueError if it is not an address."""
        return host_and_port(self.listen, "127.0.0.1:8617")
