"""Defines the tables of clouds, and of the groups of nodes on them. Durations are seconds."""

import re
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from producers.addresses import address_problem
from schemas.fields import is_node_name
from workers.config.logins import ApplicationCredentialSource, CloudsYamlSource, Source
from workers.config.types import Count, Seconds, Table, Text

# In place of networks: Nova chooses or makes one, or the server has none.
NETWORK_WORDS = frozenset({"auto", "none"})
# What Nova takes (its "parameter_types.metadata"); a longer one fails each creation.
_METADATA_KEY, _METADATA_VALUE = re.compile(r"[a-zA-Z0-9\-_:. ]{1,255}"), 255
_KEYSTONE = re.compile(r"https?://\S+/v3/*", re.IGNORECASE)


class CloudSettings(Table, frozen=True):
    """One OpenStack project.

    Attributes:
        auth_url: Keystone's address, ending in /v3.
        project_id: the project; or give project_name with project_domain.
        project_name, project_domain: the project and its domain, by name.
        region: the region of the catalog; needed if it has several.
        interface: which endpoints of the catalog are called.
        source: how to get tokens.
        ca_file: the authorities that sign the certificates of Keystone and of the cloud's other
            services; by default the system's.
        concurrency: maximum number of simultaneous calls.
        insecure: whether http:// is allowed for addresses on other hosts: auth_url, token_endpoint
            and the catalog's.
    """

    # These name files with the other fields; workers/config/clouds.py replaces them.
    completed_by: ClassVar[tuple[str, ...]] = (
        *("fedcloud_site", "site", "vo"),
        *("clouds_yaml", "cloud"),
    )

    auth_url: str
    source: Source
    project_id: Text | None = None
    project_name: Text | None = None
    project_domain: Text = "Default"
    region: Text | None = None
    interface: Literal["public", "internal", "admin"] = "public"
    ca_file: Path | None = None
    concurrency: Count = 16
    insecure: bool = False

    def __post_init__(self) -> None:
        if not _KEYSTONE.fullmatch(self.auth_url):
            raise ValueError("auth_url must be Keystone's address: https://HOST..., ending in /v3")
        for name, url in (
            ("auth_url", self.auth_url),
            ("source.token_endpoint", getattr(self.source, "token_endpoint", None)),
        ):
            instead = "write it into the file that the source names"
            if url and (problem := address_problem(url, insecure=self.insecure, instead=instead)):
                raise ValueError(f"{name} {problem}")
        own_scope = isinstance(self.source, ApplicationCredentialSource) or (
            isinstance(self.source, CloudsYamlSource)
            and self.source.kind == "application_credential"
        )
        if not own_scope and self.project_id is None and self.project_name is None:
            raise ValueError("project_id or project_name is missing: give the project to log in to")


class ServerTemplate(Table, frozen=True):
    """How a group's servers are created.

    Attributes:
        image, flavor: names or ids.
        networks: names or ids; or ["auto"] or ["none"].
        key_name: the SSH key of the servers' first user.
        security_groups: names or ids.
        availability_zone: by default, Nova chooses.
        config_drive: whether servers get their metadata on a drive, too.
        metadata: further properties of the servers.
        volume_size: GB of a root volume created from the image; by default the flavor's disk.
        user_data_file: a template for cloud-init: $node, $cluster and $group are filled in.
        server_group: its id, for affinity.
    """

    image: Text
    flavor: Text
    networks: tuple[Text, ...] = ("auto",)
    key_name: Text | None = None
    security_groups: tuple[Text, ...] = ()
    availability_zone: Text | None = None
    server_group: Text | None = None
    volume_size: Count | None = None
    user_data_file: Path | None = None
    config_drive: bool = False
    metadata: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        mixed = len(self.networks) > 1 and not NETWORK_WORDS.isdisjoint(self.networks)
        if mixed or not self.networks:
            raise ValueError('networks must be ["auto"], ["none"], or names and ids of networks')
        for key, value in self.metadata.items():
            if not _METADATA_KEY.fullmatch(key) or len(value) > _METADATA_VALUE:
                raise ValueError(
                    f"metadata: Nova refuses {key!r}: a key has 1 to 255 letters, digits, spaces and - _ : . only,"
                    " and a value at most 255 characters"
                )


class GroupSettings(Table, frozen=True):
    """A group of nodes on one cloud.

    Attributes:
        nodes: hostlist expression.
        cloud: a name from [clouds].
        strategy: how a node is powered off: `stop`, `shelve`, or `delete` (created again each time).
        server: how servers are created; needed by `delete` and by `nodes deploy`.
        boot_timeout: maximum time from a power-on call to ACTIVE; then the boot has failed.
        stop_timeout: maximum time from a power-off call to its effect.
        boots: calls of one kind per round before the boot has failed.
        cool_down: pause after the cloud had no capacity (quota, no valid host).
        deploy_wait: time from creating a server to powering it off, for cloud-init to finish.
        bake_timeout: maximum time to create an image of a node.
        network: name or id of the network whose address is the node's; by default its template's first
            one.
        ip_version: version of the node's address, if it has both on that network.
        hostname: with slurm.set_addresses, Slurm's NodeHostName; $node is filled in.
        dry_run: whether all calls to the cloud and to Slurm are only reported.
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
    network: Text | None = None
    ip_version: Literal[4, 6] = 4
    hostname: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.strategy == "delete" and self.server is None:
            raise ValueError(
                "strategy delete needs [groups.NAME.server]: it defines how servers are created"
            )
        if self.hostname is not None and not is_node_name(self.hostname.replace("$node", "n")):
            raise ValueError(
                "hostname must be a host name; only $node is filled in: write $node.example.org"
            )
