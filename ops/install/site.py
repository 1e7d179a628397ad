"""What `lamplighter init` knows of a site."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ops.install.cloud_entry import CloudEntry
from ops.install.slurm_conf import SlurmConf
from ops.install.units import PROGRAMS

# What the name of a broker's user may not hold, and how much of it a virtual host's name may be.
_ODD, _LONGEST = re.compile(r"[^A-Za-z0-9._-]"), 40
# Slurm's own ResumeTimeout (60) is too short for a virtual machine.
SLURM_RESUME_TIMEOUT, RESUME_TIMEOUT, SUSPEND_TIMEOUT, SUSPEND_TIME = 60, 600, 60, 600


@dataclass(frozen=True, slots=True)
class Site:
    """All that `lamplighter init` knows of a site.

    Attributes:
        slurm: what slurm.conf says.
        entry: the cloud, as its file describes it.
        broker_url: the broker's address with the virtual host, without a user.
        nodes: a hostlist.
        strategy: stop, shelve or delete.
        server: the fields of the servers' template; empty if the servers exist.
        programs: the folder of Lamplighter's programs.
        store: the database's address; None for SQLite.
        management_url: of the broker's management API; None if it has none here.
        insecure: the tables (broker, cloud, store) whose connections may be unencrypted.
        slurm_bin: the folder of Slurm's commands; None if workers find them by themselves.
        prolog: whether jobs wait in lamplighter-prolog for their nodes.
        slurm_version: as (22, 5); (0, 0) if it is not known.
    """

    slurm: SlurmConf
    entry: CloudEntry
    broker_url: str
    nodes: str
    strategy: str
    server: Mapping[str, str | Sequence[str]]
    programs: Path = PROGRAMS
    store: str | None = None
    management_url: str | None = None
    insecure: Collection[str] = ()
    slurm_bin: Path | None = None
    prolog: bool = False
    slurm_version: tuple[int, int] = (0, 0)

    @property
    def management(self) -> str:
        """The line that names the broker's management API, if there is one."""
        return f'management_url = "{self.management_url}"\n' if self.management_url else ""

    @property
    def prefix(self) -> str:
        """The line that names the broker's users after the virtual host; none for the usual one.

        Another cluster on this broker has users of its own.
        """
        vhost = urlsplit(self.broker_url).path[1:]
        if unquote(vhost) in {"", "/", "lamplighter"}:
            return ""
        return f'prefix = "lamplighter-{_ODD.sub("-", vhost)[:_LONGEST]}-"\n'

    def insecurity(self, table: str) -> str:
        """The line that allows unencrypted connections, if the site wants it for this table."""
        return "insecure = true\n" if table in self.insecure else ""
