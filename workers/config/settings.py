"""The whole of lamplighter.toml, for workers and operators; the hooks read their part alone.

Durations are seconds. Relative paths start at the file's own folder.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import hostlist
import msgspec

from producers.settings import BrokerSettings, ConfigError, HookSettings, hook_settings, read_toml
from schemas.names import is_node_name, shown
from workers.config.clouds import whole_clouds
from workers.config.groups import CloudSettings, GroupSettings
from workers.config.observers import ConsoleSettings, MetricsSettings
from workers.config.tables import (
    AuditSettings,
    LogSettings,
    PowerSettings,
    ResyncSettings,
    SlurmSettings,
    StoreSettings,
    TokenSettings,
)
from workers.config.types import Table
from workers.config.webhooks import NotifySettings, Webhook

# The folder where systemd puts a service's credentials (systemd.exec(5)); a path may begin with it.
CREDENTIALS = "$CREDENTIALS_DIRECTORY/"


class _File(Table, frozen=True):
    cluster: str
    broker: dict[str, str]
    dry_run: bool = False
    hooks: dict[str, str] = msgspec.field(default_factory=dict)
    slurm: SlurmSettings = SlurmSettings()
    resync: ResyncSettings = ResyncSettings()
    store: StoreSettings = StoreSettings()
    audit: AuditSettings = AuditSettings()
    power: PowerSettings = PowerSettings()
    tokens: TokenSettings = TokenSettings()
    clouds: dict[str, CloudSettings] = msgspec.field(default_factory=dict)
    groups: dict[str, GroupSettings] = msgspec.field(default_factory=dict)
    notify: NotifySettings = NotifySettings()
    console: ConsoleSettings = ConsoleSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that lamplighter.toml says.

    Attributes:
        path: the file it came from.
        nodes: each node's group, by node name.
        management_url: root of RabbitMQ's management API, for operators, or None.
        dry_run: of all groups.
        webhooks: who is told of what happens.
    """

    path: Path
    hook: HookSettings
    management_url: str | None = None
    slurm: SlurmSettings
    resync: ResyncSettings = ResyncSettings()
    store: StoreSettings
    audit: AuditSettings
    power: PowerSettings
    tokens: TokenSettings
    clouds: Mapping[str, CloudSettings]
    groups: Mapping[str, GroupSettings]
    nodes: Mapping[str, str]
    dry_run: bool
    webhooks: tuple[Webhook, ...]
    console: ConsoleSettings
    metrics: MetricsSettings
    log: LogSettings

    def is_dry(self, node: str) -> bool:
        """Whether nothing is done about this node, but said what would be."""
        group = self.nodes.get(node)
        return self.dry_run or (group is not None and self.groups[group].dry_run)

    @property
    def dry_groups(self) -> tuple[str, ...]:
        """The groups in a dry run, in words."""
        if self.dry_run:
            return ("all groups",)
        return tuple(sorted(name for name, group in self.groups.items() if group.dry_run))

    @property
    def notify_keys(self) -> tuple[str, ...]:
        """The routing keys of the events that webhooks ask for; topic patterns."""
        return tuple(dict.fromkeys(key for webhook in self.webhooks for key in webhook.keys))

    @property
    def stale_after(self) -> float:
        """Seconds after which a snapshot says nothing any more."""
        return self.resync.stale_after or 3 * self.slurm.snapshot_interval

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.hook.cluster

    @property
    def broker(self) -> BrokerSettings:
        """How to reach RabbitMQ."""
        return self.hook.broker


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the file at `path`, and those that define its clouds.

    Args:
        path: the file.
        environ: where defaults for clouds come from; the process's environment if not given.

    Raises:
        ConfigError: naming the file, the field and the remedy.
    """
    hook = hook_settings(path)
    folder = path.parent
    content = read_toml(path)
    if "clouds" in content:
        given = os.environ if environ is None else environ
        content["clouds"] = whole_clouds(path, content["clouds"], given)

    def absolute(kind: type, value: object) -> object:
        if kind is Path and isinstance(value, str):
            # systemd's folder is known to the service alone, and not to who reads this file too
            return Path(value) if value.startswith(CREDENTIALS) else folder / value
        raise NotImplementedError

    try:
        file = msgspec.convert(content, _File, dec_hook=absolute)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}; see docs/configuration.md") from None
    return Settings(
        path=path,
        hook=hook,
        management_url=file.broker.get("management_url"),
        slurm=file.slurm,
        resync=file.resync,
        store=StoreSettings(
            url=_anchored(file.store.url, folder), audit_url=_anchored(file.store.audit_url, folder)
        ),
        audit=msgspec.structs.replace(
            file.audit,
            key_file=folder / file.audit.key_file,
            heads_file=folder / file.audit.heads_file,
        ),
        power=file.power,
        tokens=msgspec.structs.replace(file.tokens, key_file=folder / file.tokens.key_file),
        clouds=file.clouds,
        groups={
            name: msgspec.structs.replace(group, dry_run=group.dry_run or file.dry_run)
            for name, group in file.groups.items()
        },
        nodes=_nodes(file, path),
        dry_run=file.dry_run,
        webhooks=file.notify.webhook,
        console=file.console,
        metrics=file.metrics,
        log=file.log,
    )


def _anchored(url: str, folder: Path) -> str:
    """A relative SQLite file starts at the configuration's folder, not at the process's."""
    scheme, found, name = url.partition(":///")
    if found and scheme == "sqlite" and not name.startswith("/"):
        return f"sqlite:///{(folder / name).resolve()}"
    return url


def _nodes(file: _File, path: Path) -> dict[str, str]:
    nodes: dict[str, str] = {}
    for name, group in file.groups.items():
        if group.cloud not in file.clouds:
            raise ConfigError(f"{path}: groups.{name}.cloud: there is no [clouds.{group.cloud}]")
        try:
            members = hostlist.expand_hostlist(group.nodes)
        except hostlist.BadHostlist as error:
            raise ConfigError(f"{path}: groups.{name}.nodes: {error}") from None
        for node in members:
            if not is_node_name(node):
                raise ConfigError(f"{path}: groups.{name}.nodes: {shown(node)} is no node name")
            if node in nodes:
                raise ConfigError(
                    f"{path}: groups.{name}.nodes: {node} is in group {nodes[node]} already"
                )
            nodes[node] = name
    return nodes
