"""Where nodes run, as lamplighter.toml says: clouds, and the groups of nodes on them. Durations are seconds."""

from pathlib import Path
from typing import Literal

import msgspec

from workers.config.logins import ApplicationCredentialSource, CloudsYamlSource, Source
from workers.config.types import Count, Seconds, Table


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
