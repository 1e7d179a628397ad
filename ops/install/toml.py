"""The text of lamplighter.toml. Pure."""

import json
import re
from collections.abc import Mapping

from ops.install.site import RESUME_TIMEOUT, SUSPEND_TIMEOUT, Site
from ops.install.units import AUDIT, LOG, RUN, SPOOL, STATE, USERS

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def lamplighter_toml(site: Site) -> str:
    """The configuration: only what this site needs."""
    cloud = _key(site.entry.name)
    template = ""
    if site.server:
        template = f"\n[groups.nodes.server]               # how a server is created\n{_fields(site.server)}"
    slurm_bin = f"bin = {_value(str(site.slurm_bin))}\n" if site.slurm_bin else ""
    prolog = ""
    if site.prolog:
        prolog = f'prolog = "{RUN}/prolog"       # jobs start as soon as their nodes are there (docs/prolog.md)\n'
    return f"""\
# Written by `lamplighter init`; all fields: docs/configuration.md. Secrets are in files of their own.
cluster = {_value(site.slurm.cluster)}

[broker]
url = {_value(site.broker_url)}
{site.management}{site.insecurity("broker")}[broker.users]                        # a user for each role (docs/security.md)
folder = "{USERS}"
{site.prefix}
[hooks]                               # of the programs in slurm.conf, as SlurmUser
spool = "{SPOOL}"
state = "{STATE}/clock"
log_file = "{LOG}/hooks.log"

[slurm]                               # the times are those of slurm.conf
conf = {_value(str(site.slurm.path))}
{slurm_bin}resume_timeout = {site.slurm.longest("ResumeTimeout", RESUME_TIMEOUT)}
suspend_timeout = {site.slurm.longest("SuspendTimeout", SUSPEND_TIMEOUT)}
set_addresses = true                  # false if the names of the nodes are in your DNS
{prolog}
[resync]
enabled = true

[store]                               # PostgreSQL, if workers run on several hosts
url = {_value(site.store or f"sqlite:///{STATE}/state.db")}
audit_url = {_value(site.store or f"sqlite:///{AUDIT}/audit.db")}
{site.insecurity("store")}
[audit]
key_file = "{AUDIT}/audit.key"
heads_file = "{AUDIT}/audit.heads"

[tokens]
key_file = "{STATE}/token.key"

[clouds.{cloud}]
{_fields(site.entry.fields)}{site.insecurity("cloud")}
[clouds.{cloud}.source]
{_fields(site.entry.source)}
[groups.nodes]
nodes = {_value(site.nodes)}
cloud = {_value(site.entry.name)}
strategy = {_value(site.strategy)}
{template}"""


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _value(name)


def _fields(fields: Mapping[str, object]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in fields.items())


def _value(value: object) -> str:
    """A TOML value; JSON's strings are TOML's basic strings, but for DEL."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
