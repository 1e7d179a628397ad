"""Loads lamplighter.toml for workers and operators; the hooks read only their part.

Durations are seconds. Relative paths start at the folder of the file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from producers.addresses import address_problem, parameters_problem
from producers.broker_settings import BrokerSettings
from producers.hosts import expand
from producers.settings import ConfigError, HookSettings, hook_settings, read_toml
from producers.toml_table import TomlTable, shown_key
from producers.trust import beside
from schemas.errors import MalformedMessageError
from schemas.roles import Role
from workers.config.clouds import completed_clouds
from workers.config.groups import CloudSettings, GroupSettings
from workers.config.logins import RefreshTokenSource
from workers.config.problems import problem_in
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
from workers.config.types import Table, Text
from workers.config.webhooks import NotifySettings, Webhook


class _Tables(Table, frozen=True):
    dry_run: bool = False
    slurm: SlurmSettings = SlurmSettings()
    resync: ResyncSettings = ResyncSettings()
    store: StoreSettings = StoreSettings()
    audit: AuditSettings = AuditSettings()
    power: PowerSettings = PowerSettings()
    tokens: TokenSettings = TokenSettings()
    clouds: dict[Text, CloudSettings] = msgspec.field(default_factory=dict)
    groups: dict[Text, GroupSettings] = msgspec.field(default_factory=dict)
    console: ConsoleSettings = ConsoleSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()


class _File(_Tables, frozen=True, kw_only=True):
    cluster: str
    # producers.settings checks these two
    broker: dict[str, Any]
    hooks: dict[str, Any] = msgspec.field(default_factory=dict)
    notify: NotifySettings = NotifySettings()


class Settings(_Tables, frozen=True, kw_only=True):
    """The content of lamplighter.toml.

    Attributes:
        path: the file.
        hook: the part that the hooks read, too.
        nodes: the group of each node, by node name.
        management_urls: roots of RabbitMQ's management API, for operators: of each node.
        dry_run: whether all groups are in a dry run.
        webhooks: receivers of events.
    """

    path: Path
    hook: HookSettings
    nodes: Mapping[str, str]
    management_urls: tuple[str, ...] = ()
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
    def refreshed_clouds(self) -> list[str]:
        """The clouds whose login is a refresh token."""
        clouds = self.clouds.items()
        return [name for name, one in clouds if isinstance(one.source, RefreshTokenSource)]

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
        if kind is Path and isinstance(value, str) and value.strip() and "\0" not in value:
            return beside(folder, Path(value))
        raise msgspec.ValidationError

    try:
        file = msgspec.convert(content, _File, dec_hook=absolute)
    except msgspec.ValidationError as error:
        problem = problem_in(content, _File, absolute) or error
        raise ConfigError(f"{path}: {problem}") from None
    tables = {name: getattr(file, name) for name in _Tables.__struct_fields__}
    tables |= {
        "store": replace(
            file.store,
            url=_store_url(file.store.url, folder, role),
            audit_url=_store_url(file.store.audit_url, folder, role),
        ),
        "audit": replace(
            file.audit,
            key_file=beside(folder, file.audit.key_file),
            heads_file=folder / file.audit.heads_file,
        ),
        "tokens": replace(file.tokens, key_file=beside(folder, file.tokens.key_file)),
        "groups": {
            name: replace(group, dry_run=group.dry_run or file.dry_run)
            for name, group in file.groups.items()
        },
    }
    settings = Settings(
        path=path,
        hook=hook,
        nodes=_nodes(file, path),
        management_urls=_management_urls(TomlTable(file.broker, path, "broker."), hook.broker),
        webhooks=file.notify.webhook,
        **tables,
    )
    _require_own_files(settings)
    _require_records(settings)
    return settings


def _require_records(settings: Settings) -> None:
    """Check that the log still has an outcome when the store may forget it: else the store never does."""
    keep, outcomes = settings.audit.keep, settings.power.keep_outcomes
    if keep <= outcomes:
        raise ConfigError(
            f"{settings.path}: audit.keep: is {keep:.0f} s, and power.keep_outcomes {outcomes:.0f} s: an outcome leaves "
            "the store only while the audit log has it; make audit.keep the longer one"
        )


def _require_own_files(settings: Settings) -> None:
    """Check that no file has two uses: what is appended to one would destroy a key, or a store."""
    store, audit, hook = settings.store, settings.audit, settings.hook
    named = {
        "tokens.key_file": settings.tokens.key_file,
        "audit.key_file": audit.key_file,
        "audit.heads_file": audit.heads_file,
        "hooks.log_file": hook.log_file,
        "store.url": Path(store.url.removeprefix("sqlite:///")),
        "store.audit_url": Path(store.audit_url.removeprefix("sqlite:///")),
    }
    first = {settings.path: "lamplighter.toml"}
    for key, path in named.items():
        other = first.setdefault(path, key) if path is not None else key
        # state and audit log may share a database
        if other != key and not other.startswith("store."):
            raise ConfigError(
                f"{settings.path}: {key}: names the same file as {other}; name one of its own"
            )


def _management_urls(table: TomlTable, broker: BrokerSettings) -> tuple[str, ...]:
    """The API of each node: as listed, or as the one of a node that broker.urls names."""
    instead = "lamplighter logs in as [broker] says, or with --admin NAME"
    if "management_url" not in table and "management_urls" not in table:
        return ()
    field, written = table.one_or_more("management_url")

    def checked(urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            problem = parameters_problem(url) or address_problem(
                url, insecure=broker.insecure, instead=instead
            )
            if problem is not None:
                raise table.wrong(field, problem)
        return urls

    urls = checked(written)
    return urls if field == "management_urls" else checked(_of_all_nodes(urls[0], broker))


def _of_all_nodes(url: str, broker: BrokerSettings) -> tuple[str, ...]:
    host = urlsplit(url).hostname
    hosts = list(dict.fromkeys(urlsplit(one).hostname or "" for one in broker.urls))
    if host not in hosts:  # a load balancer, for one
        return (url,)
    hosts.sort(key=lambda one: one != host)
    return tuple(_with_host(url, one) for one in hosts)


def _with_host(url: str, host: str) -> str:
    parts = urlsplit(url)
    place = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{place}{port}").geturl()


def _store_url(url: str, folder: Path, role: Role) -> str:
    """Resolve a relative SQLite file from the configuration's folder, not from the process's.

    In the URL of another database, `{role}` is the process's role.
    """
    scheme, found, name = url.partition(":///")
    if found and scheme == "sqlite" and not name.startswith("/"):
        return f"sqlite:///{os.path.abspath(folder / name)}"  # noqa: PTH100 - resolve reads the disk
    return url if scheme == "sqlite" else url.replace("{role}", role)


def _nodes(file: _File, path: Path) -> dict[str, str]:
    nodes: dict[str, str] = {}
    for name, group in file.groups.items():
        where = f"{path}: groups.{shown_key(name)}"
        if group.cloud not in file.clouds:
            known = ", ".join(map(shown_key, file.clouds)) or "none"
            raise ConfigError(
                f"{where}.cloud: [clouds.{shown_key(group.cloud)}] is missing; there is {known}"
            )
        try:
            members = expand(group.nodes)
        except MalformedMessageError as error:
            raise ConfigError(f"{where}.nodes: {error}") from None
        if group.hostname and "$node" not in group.hostname and len(members) > 1:
            raise ConfigError(
                f"{where}.hostname: is the same for {len(members)} nodes: write $node.{group.hostname}"
            )
        for node in members:
            if node in nodes:
                problem = f"{node} is already in group {shown_key(nodes[node])}; remove it from one of them"
                raise ConfigError(f"{where}.nodes: {problem}")
            nodes[node] = name
    return nodes
