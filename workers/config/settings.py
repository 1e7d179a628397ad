"""Loads lamplighter.toml for workers and operators; the hooks read only their part.

Durations are seconds. Relative paths start at the folder of the file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hostlist
import msgspec
from msgspec.structs import replace

from producers.settings import BrokerSettings, ConfigError, HookSettings, hook_settings, read_toml
from schemas.names import is_node_name, shown
from schemas.roles import Role
from workers.config.clouds import completed_clouds
from workers.config.groups import CloudSettings, GroupSettings
from workers.config.tables import (
    AuditSettings,
    ConsoleSettings,
    LogSettings,
    MetricsSettings,
    PowerSettings,
    ResyncSettings,
    SlurmSettings,
    StoreSettings,
    TokenSettings,
)
from workers.config.types import Table
from workers.config.webhooks import NotifySettings, Webhook

# A path may begin with the folder of a service's credentials (systemd.exec(5)).
CREDENTIALS = "$CREDENTIALS_DIRECTORY/"


class _Tables(Table, frozen=True):
    dry_run: bool = False
    slurm: SlurmSettings = SlurmSettings()
    resync: ResyncSettings = ResyncSettings()
    store: StoreSettings = StoreSettings()
    audit: AuditSettings = AuditSettings()
    power: PowerSettings = PowerSettings()
    tokens: TokenSettings = TokenSettings()
    clouds: dict[str, CloudSettings] = msgspec.field(default_factory=dict)
    groups: dict[str, GroupSettings] = msgspec.field(default_factory=dict)
    console: ConsoleSettings = ConsoleSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()


class _File(_Tables, frozen=True, kw_only=True):
    cluster: str
    broker: dict[str, Any]  # checked by producers.settings
    hooks: dict[str, str] = msgspec.field(default_factory=dict)
    notify: NotifySettings = NotifySettings()


class Settings(_Tables, frozen=True, kw_only=True):
    """The content of lamplighter.toml.

    Attributes:
        path: the file.
        hook: the part that the hooks read, too.
        nodes: the group of each node, by node name.
        management_url: root of RabbitMQ's management API, for operators, or None.
        dry_run: whether all groups are in a dry run.
        webhooks: receivers of events.
    """

    path: Path
    hook: HookSettings
    nodes: Mapping[str, str]
    management_url: str | None = None
    webhooks: tuple[Webhook, ...] = ()

    def is_dry(self, node: str) -> bool:
        """Whether a node is in a dry run: actions are reported, not carried out."""
        group = self.nodes.get(node)
        return self.dry_run or (group is not None and self.groups[group].dry_run)

    @property
    def dry_groups(self) -> tuple[str, ...]:
        """The groups in a dry run, for a message."""
        if self.dry_run:
            return ("all groups",)
        return tuple(sorted(name for name, group in self.groups.items() if group.dry_run))

    @property
    def notify_keys(self) -> tuple[str, ...]:
        """The topic patterns of the events that webhooks subscribe to."""
        return tuple(dict.fromkeys(key for webhook in self.webhooks for key in webhook.keys))

    @property
    def stale_after(self) -> float:
        """The age in seconds above which a snapshot is not used."""
        return self.resync.stale_after or 3 * self.slurm.snapshot_interval

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.hook.cluster

    @property
    def broker(self) -> BrokerSettings:
        """How to reach RabbitMQ."""
        return self.hook.broker


def load(
    path: Path, environ: Mapping[str, str] | None = None, role: Role = Role.OPERATOR
) -> Settings:
    """Read and check lamplighter.toml and the files that define its clouds, for a process of this role.

    `environ` are the environment variables with defaults for clouds, by default the process's.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    hook = hook_settings(path, role)
    folder = path.parent
    content = read_toml(path)
    if "clouds" in content:
        environ = os.environ if environ is None else environ
        content["clouds"] = completed_clouds(path, content["clouds"], environ)

    def absolute(kind: type, value: object) -> object:
        if kind is Path and isinstance(value, str):
            # only the service knows systemd's folder; other readers of this file do not
            return Path(value) if value.startswith(CREDENTIALS) else folder / value
        raise NotImplementedError

    try:
        file = msgspec.convert(content, _File, dec_hook=absolute)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}; see docs/configuration.md") from None
    tables = {name: getattr(file, name) for name in _Tables.__struct_fields__}
    tables |= {
        "store": StoreSettings(
            url=_anchored(file.store.url, folder), audit_url=_anchored(file.store.audit_url, folder)
        ),
        "audit": replace(
            file.audit,
            key_file=folder / file.audit.key_file,
            heads_file=folder / file.audit.heads_file,
        ),
        "tokens": replace(file.tokens, key_file=folder / file.tokens.key_file),
        "groups": {
            name: replace(group, dry_run=group.dry_run or file.dry_run)
            for name, group in file.groups.items()
        },
    }
    return Settings(
        path=path,
        hook=hook,
        nodes=_nodes(file, path),
        management_url=file.broker.get("management_url"),
        webhooks=file.notify.webhook,
        **tables,
    )


def _anchored(url: str, folder: Path) -> str:
    """Resolve a relative SQLite file from the configuration's folder, not from the process's."""
    scheme, found, name = url.partition(":///")
    if found and scheme == "sqlite" and not name.startswith("/"):
        return f"sqlite:///{(folder / name).resolve()}"
    return url


def _nodes(file: _File, path: Path) -> dict[str, str]:
    nodes: dict[str, str] = {}
    for name, group in file.groups.items():
        if group.cloud not in file.clouds:
            raise ConfigError(f"{path}: groups.{name}.cloud: [clouds.{group.cloud}] is missing")
        try:
            members = hostlist.expand_hostlist(group.nodes)
        except hostlist.BadHostlist as error:
            raise ConfigError(f"{path}: groups.{name}.nodes: {error}") from None
        for node in members:
            problem = None if is_node_name(node) else f"{shown(node)} is not a valid node name"
            if node in nodes:
                problem = f"{node} is already in group {nodes[node]}"
            if problem is not None:
                raise ConfigError(f"{path}: groups.{name}.nodes: {problem}")
            nodes[node] = name
    return nodes
