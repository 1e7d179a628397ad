"""The text of lamplighter.toml, and of the lines for slurm.conf. Pure."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import hostlist

from ops.install.slurm_conf import SlurmConf
from ops.install.units import LOG, RUN, SPOOL, STATE, USERS
from producers.hosts import expand

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Group:
    """A group of nodes.

    Attributes:
        nodes: a hostlist.
        cloud: the cloud's name.
        strategy: stop, shelve or delete.
        server: the fields of its template; empty if its servers exist.
    """

    nodes: str
    cloud: str
    strategy: str
    server: Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Site:
    """All that `lamplighter init` knows of a site.

    Attributes:
        cluster: the cluster's name.
        slurm: what slurm.conf says.
        broker_url: the broker's address with the virtual host, without a user.
        cloud: the fields of the table [clouds.NAME]; by name.
        source: the fields of its table `source`.
        group: the group of nodes.
        programs: the folder of Lamplighter's programs.
        store: the database's address; None for SQLite.
        insecure: the tables (broker, cloud, store) whose connections may be unencrypted.
    """

    cluster: str
    slurm: SlurmConf
    broker_url: str
    cloud: Mapping[str, object]
    source: Mapping[str, object]
    group: Group
    programs: Path
    store: str | None = None
    insecure: Collection[str] = ()

    def insecurity(self, table: str) -> str:
        """The line that allows unencrypted connections, if the site wants it for this table."""
        return "insecure = true\n" if table in self.insecure else ""


def lamplighter_toml(site: Site) -> str:
    """The configuration: only what this site needs."""
    cloud = _key(site.group.cloud)
    template = ""
    if site.group.server:
        template = f"\n[groups.nodes.server]               # how a server is created\n{_fields(site.group.server)}"
    return f"""\
# Written by `lamplighter init`; all fields: docs/configuration.md. Secrets are in files of their own.
cluster = {_value(site.cluster)}

[broker]
url = {_value(site.broker_url)}
{site.insecurity("broker")}[broker.users]                        # a user for each role (docs/security.md)
folder = "{USERS}"

[hooks]                               # of the programs in slurm.conf, as SlurmUser
spool = "{SPOOL}"
state = "{STATE}/clock"
log_file = "{LOG}/hooks.log"

[slurm]                               # the times are those of slurm.conf
conf = {_value(str(site.slurm.path))}
resume_timeout = {site.slurm.longest("ResumeTimeout", RESUME_TIMEOUT)}
suspend_timeout = {site.slurm.longest("SuspendTimeout", SUSPEND_TIMEOUT)}
set_addresses = true                  # false if the names of the nodes are in your DNS
prolog = "{RUN}/prolog"       # jobs start as soon as their nodes are there (docs/prolog.md)

[resync]
enabled = true

[store]                               # PostgreSQL, if workers run on several hosts
url = {_value(site.store or f"sqlite:///{STATE}/state.db")}
audit_url = {_value(site.store or f"sqlite:///{STATE}/audit.db")}
{site.insecurity("store")}
[audit]
key_file = "{STATE}/audit.key"
heads_file = "{STATE}/audit.heads"

[tokens]
key_file = "{STATE}/token.key"

[clouds.{cloud}]
{_fields(site.cloud)}{site.insecurity("cloud")}
[clouds.{cloud}.source]
{_fields(site.source)}
[groups.nodes]
nodes = {_value(site.group.nodes)}
cloud = {_value(site.group.cloud)}
strategy = {_value(site.group.strategy)}
{template}"""


# Slurm's own ResumeTimeout (60) is too short for a virtual machine.
RESUME_TIMEOUT, SUSPEND_TIMEOUT, SUSPEND_TIME = 600, 60, 600


def slurm_lines(site: Site) -> tuple[str, list[str]]:
    """The lines to include into slurm.conf, and what it says already and differently.

    A parameter that slurm.conf sets to another value is not repeated: each difference is a line for
    the operator.
    """
    wanted = {
        "ResumeProgram": str(site.programs / "lamplighter-resume"),
        "SuspendProgram": str(site.programs / "lamplighter-suspend"),
        "ResumeFailProgram": str(site.programs / "lamplighter-resume-fail"),
        "PrologSlurmctld": str(site.programs / "lamplighter-prolog"),
        "PrivateData": "cloud",
        "ResumeTimeout": str(RESUME_TIMEOUT),
        "SuspendTimeout": str(SUSPEND_TIMEOUT),
        "SuspendTime": str(SUSPEND_TIME),
    }
    if site.slurm.of_partitions("SuspendTime"):
        del wanted["SuspendTime"]  # for all it would power down those of other partitions, too
    if "suspendexcparts" not in site.slurm.values and (exempt := _exempt(site)):
        wanted["SuspendExcNodes"] = exempt
    lines, differences = [], []
    for key, value in wanted.items():
        present = site.slurm.values.get(key.lower())
        if present is None:
            lines.append(f"{key}={value}")
        elif better := _instead(site.slurm, key, present, value):
            differences.append(f"{key}={present} in {site.slurm.path}: change it to {better}")
    header = "# Written by `lamplighter init`: slurmctld powers nodes on and off by Lamplighter.\n"
    return header + "".join(f"{line}\n" for line in lines), differences


def _exempt(site: Site) -> str:
    """The nodes that slurmctld must not power down: all but the group's; empty if there are none."""
    known = [*site.slurm.cloud_nodes, *site.slurm.other_nodes]
    ours = set(expand(site.group.nodes))
    names = [one for part in known for one in expand(part) if one not in ours]
    exempt: str = hostlist.collect_hostlist(names)
    return exempt


def _instead(slurm: SlurmConf, key: str, present: str, wanted: str) -> str | None:
    """What to write instead of a value of slurm.conf; None if it is as good."""
    if key == "PrivateData":
        known = [one for one in present.split(",") if one and one.lower() != "none"]
        return None if "cloud" in present.lower().split(",") else ",".join([*known, wanted])
    if key.endswith("Program"):
        return None if present == wanted else wanted
    if key == "PrologSlurmctld":
        return None if wanted in present.split(",") else wanted
    if key == "SuspendExcNodes":
        return None  # `lamplighter doctor` says which nodes it lacks
    # a time of its own is as good; without one, nodes are never powered down
    return None if slurm.seconds(key, 0) or slurm.of_partitions(key) else wanted


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _value(name)


def _fields(fields: Mapping[str, object]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in fields.items())


def _value(value: object) -> str:
    """A TOML value; JSON's strings are TOML's basic strings, but for DEL."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
