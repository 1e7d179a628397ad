"""The whole of lamplighter.toml, for workers and operators; the hooks read their part alone.

Durations are seconds. Relative paths start at the file's own folder.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import hostlist
import msgspec

from producers.settings import BrokerSettings, ConfigError, HookSettings, hook_settings, read_toml
from schemas.names import is_node_name, shown
from workers.clouds import whole_clouds
from workers.logins import ApplicationCredentialSource, CloudsYamlSource, Source
from workers.notify.webhook import NotifySettings, Webhook
from workers.observers import ConsoleSettings, MetricsSettings
from workers.table import Count, Seconds, Table

# The folder where systemd puts a service's credentials (systemd.exec(5)); a path may begin with it.
CREDENTIALS = "$CREDENTIALS_DIRECTORY/"


class SlurmSettings(Table, frozen=True):
    """Slurm, and what it is told; seconds.

    Attributes:
        resume_timeout, suspend_timeout: as in slurm.conf.
        feedback: whether `lamplighter up` runs the slurm worker; without a word where Slurm's
            commands and slurm.conf are found.
        conf: slurm.conf; by default the one beside this file, else $SLURM_CONF's.
        bin: the folder of scontrol and squeue; by default they are searched.
        timeout: of one command of Slurm's.
        set_addresses: whether Slurm is told at which address a node has booted.
        return_after: from a failed boot to the node's return to service; twice as long after each
            further failure in a row.
        return_at_most: the longest such time.
        give_back_after: how long a node may wait for a cloud that is away, before its job is let go.
        snapshot_interval: from one reading of all nodes for the resync worker to the next.
        uws_jobdata: OPUS's SLURM_JOBDATA_PATH, by which a job shows for which UWS job it runs.
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
    uws_jobdata: str | None = None

    def __post_init__(self) -> None:
        if self.uws_jobdata is not None and not self.uws_jobdata.startswith("/"):
            raise ValueError("uws_jobdata must be absolute, as OPUS's SLURM_JOBDATA_PATH is")


class ResyncSettings(Table, frozen=True):
    """What is made of Slurm's snapshots; seconds.

    Attributes:
        enabled: whether suspends are held against snapshots, and drift is repaired; without a word
            where Slurm's commands and slurm.conf are found, or once a snapshot is in the store.
        grace: how long a node must have been seen to differ before it is put out.
        stale_after: a snapshot older than this says nothing any more; three intervals by default.
        repeat_after: from one request for a repair to the next, if it has not helped; doubled each
            time, to an hour at most.
        delete_strays: whether servers with our tags that are no node's are deleted, after the grace.
    """

    enabled: bool | None = None
    grace: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    stale_after: Seconds | None = None
    repeat_after: Seconds = 300.0
    delete_strays: bool = False


class StoreSettings(Table, frozen=True):
    """Where state and audit live: SQLAlchemy URLs; SQLite files of their own by default."""

    url: str = "sqlite:////var/lib/lamplighter/state.db"
    audit_url: str = "sqlite:////var/lib/lamplighter/audit.db"


class PowerSettings(Table, frozen=True):
    """The power worker.

    Attributes:
        prefetch: deliveries in flight per work queue, hence nodes pending.
        poll_interval: between two listings of a cloud that has pending nodes.
        api_timeout: of one call to a cloud; a lease must have more than this left.
        lease: how long a worker owns a node without renewing.
        hold: a delivery held longer than this is parked (RabbitMQ ends consumers at 30 min).
        attempts: failed attempts before a request is dead-lettered.
        clock_ahead: a generation further in the future than this is refused.
    """

    prefetch: Count = 2000
    poll_interval: Seconds = 1.0
    api_timeout: Seconds = 20.0
    lease: Seconds = 60.0
    hold: Seconds = 900.0
    attempts: Count = 5
    clock_ahead: Seconds = 3600.0

    def __post_init__(self) -> None:
        if self.lease < 2 * self.api_timeout:
            raise ValueError("lease must be at least twice api_timeout, or no call could be made")


class TokenSettings(Table, frozen=True):
    """The token service.

    Attributes:
        key_file: 32 random bytes (base64) that encrypt rotated refresh tokens in the store;
            made at first start where it is missing.
        service_user: the broker user that answers; replies of others are refused.
        allowed_users: broker users that may ask; empty for the broker URL's own user alone.
        timeout: of one request for a token.
    """

    key_file: Path = Path("token.key")
    service_user: str | None = None
    allowed_users: tuple[str, ...] = ()
    timeout: Seconds = 10.0


class AuditSettings(Table, frozen=True):
    """The audit worker.

    Attributes:
        key_file: signs the log's heads (Ed25519, PEM); made at first start, and its public half
            beside it as key_file.pub.
        heads_file: signed heads are appended to it; have it copied to another host.
        heads_every: seconds between two of them, while something is recorded.
    """

    key_file: Path = Path("audit.key")
    heads_file: Path = Path("audit.heads")
    heads_every: Seconds = 300.0


class CloudSettings(Table, frozen=True):
    """One OpenStack project.

    Attributes:
        auth_url: Keystone's, ending in /v3.
        project_id: or project_name with project_domain.
        source: where its tokens come from.
        concurrency: calls in flight.
    """

    auth_url: str
    source: Source
    project_id: str | None = None
    project_name: str | None = None
    project_domain: str = "Default"
    region: str | None = None
    interface: Literal["public", "internal", "admin"] = "public"
    ca_file: Path | None = None
    concurrency: Count = 16

    def __post_init__(self) -> None:
        if not self.auth_url.rstrip("/").endswith("/v3"):
            raise ValueError("auth_url must be Keystone's address, ending in /v3")
        own_scope = isinstance(self.source, ApplicationCredentialSource) or (
            isinstance(self.source, CloudsYamlSource)
            and self.source.kind == "application_credential"
        )
        if not own_scope and self.project_id is None and self.project_name is None:
            raise ValueError("project_id or project_name is missing: say what to log in to")


class ServerTemplate(Table, frozen=True):
    """How a group's servers are made.

    Attributes:
        image, flavor: names or ids.
        networks: names or ids; or ["auto"] or ["none"].
        volume_size: GB of a root volume made from the image; without it the flavor's own disk.
        user_data_file: a template for cloud-init: $node, $cluster and $group are filled in.
        server_group: the id of one, for affinity.
    """

    image: str
    flavor: str
    networks: tuple[str, ...] = ("auto",)
    key_name: str | None = None
    security_groups: tuple[str, ...] = ()
    availability_zone: str | None = None
    server_group: str | None = None
    volume_size: Count | None = None
    user_data_file: Path | None = None
    config_drive: bool = False
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class GroupSettings(Table, frozen=True):
    """A group of nodes on one cloud.

    Attributes:
        nodes: hostlist expression.
        cloud: a name from [clouds].
        strategy: how its nodes are put out: `stop`, `shelve`, or `delete` and made anew.
        server: how its servers are made; needed by `delete` and by `nodes deploy`.
        boot_timeout: from a call that lights a node to ACTIVE, else the boot has failed.
        stop_timeout: likewise from a call that puts it out.
        boots: calls of one kind per round before the boot has failed.
        cool_down: after the cloud has had no room (quota, no valid host), how long none is tried.
        deploy_wait: from creating a server for later to putting it out: cloud-init's time.
        bake_timeout: how long making an image of a node may take.
        hostname: with slurm.set_addresses, what Slurm's NodeHostName is to be: $node is filled in.
        dry_run: everything happens but the calls to the cloud, and to Slurm.
    """

    nodes: str
    cloud: str
    strategy: Literal["stop", "shelve", "delete"] = "stop"
    server: ServerTemplate | None = None
    boot_timeout: Seconds = 600.0
    stop_timeout: Seconds = 600.0
    boots: Count = 3
    cool_down: Seconds = 60.0
    deploy_wait: Seconds = 180.0
    bake_timeout: Seconds = 3600.0
    hostname: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.strategy == "delete" and self.server is None:
            raise ValueError("strategy delete needs [groups.NAME.server]: say how servers are made")


class LogSettings(Table, frozen=True):
    """Structured logs: JSON lines, or colours for people."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


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
