"""Checks the clouds: rights, quota, templates, servers, clock. Tokens come from the token service."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import hostlist

from ops.cli.session import Session
from ops.cli.terminal import cut
from ops.doctor.host import wrong
from ops.doctor.parts import of_clock
from ops.site.findings import Finding, Severity
from workers.clouds.client import Cloud
from workers.clouds.errors import BadTemplateError, CloudError
from workers.clouds.quota import Flavor, Limits, Wish, shortages
from workers.config.settings import Settings
from workers.errors import LamplighterError
from workers.tokens.client import TokenClient
from workers.tokens.plugin import TokenServicePlugin

_SECONDS = 10.0
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class CloudView:
    """What a cloud shows.

    Attributes:
        servers: the nodes that have a server.
        limits: the project's quota; None if the cloud does not show it.
        flavors: of the groups whose templates are right.
        problems: of the other groups' templates.
        ahead: seconds by which the cloud's clock is ahead of ours.
    """

    servers: frozenset[str]
    limits: Limits | None = None
    flavors: Mapping[str, Flavor] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    ahead: float = 0.0


def of_clouds(session: Session, settings: Settings) -> Iterator[Finding]:
    """All findings about the clouds that groups use."""
    used = {group.cloud for group in settings.groups.values()}
    try:
        with session.token_client() as client:
            for name in sorted(used):
                try:
                    yield from of_cloud(name, settings, _look(name, settings, client))
                except CloudError as error:
                    yield _refused(name, error)
    except LamplighterError as error:
        yield Finding(Severity.AWAY, "cloud", f"no cloud can be looked at: {error}")


def _refused(name: str, error: CloudError) -> Finding:
    if error.status == _FORBIDDEN:
        remedy = f"give the login of clouds.{name} the role member in its project"
        return wrong("rights", f"clouds.{name}: the cloud forbids: {error}", remedy)
    return Finding(Severity.AWAY, "cloud", f"clouds.{name}: {error}")


def of_cloud(name: str, settings: Settings, view: CloudView) -> Iterator[Finding]:
    """What one cloud's view shows to be wrong. Pure."""
    yield from of_clock(f"the cloud {name}", view.ahead, 0.0)
    wishes = []
    for key, group in settings.groups.items():
        if group.cloud != name:
            continue
        if key in view.problems:
            remedy = f"correct [groups.{key}.server] in lamplighter.toml"
            yield wrong("template", f"groups.{key}.server: {view.problems[key]}", remedy)
        nodes = [node for node, of in settings.nodes.items() if of == key]
        absent = [node for node in nodes if node not in view.servers]
        wishes.append(Wish(len(absent), view.flavors.get(key)))
        if absent and group.strategy != "delete":
            names = cut(hostlist.collect_hostlist(absent))
            words = f"groups.{key}: {len(absent)} of {len(nodes)} nodes have no server: {names}"
            remedy = f'lamplighter nodes deploy {key} --reason "first nodes"'
            yield wrong("servers_missing", words, remedy)
    for problem in shortages(view.limits, wishes) if view.limits else ():
        words = f"clouds.{name}: the quota is below what all nodes need: {problem}"
        yield wrong("quota", words, "ask the cloud for a larger quota, or make the groups smaller")


def _look(name: str, settings: Settings, client: TokenClient) -> CloudView:
    """Read the cloud; errors as those of its client."""
    of_cloud = settings.clouds[name]
    plugin = TokenServicePlugin(client, name, of_cloud.auth_url)
    cloud = Cloud(of_cloud, plugin, _SECONDS, settings.cluster)
    flavors, problems = {}, {}
    try:
        nodes = {server.node or server.name for server in cloud.list_servers(None).servers}
        limits, theirs = cloud.limits()
        for key, group in settings.groups.items():
            if group.cloud == name and group.server is not None:
                try:
                    flavors[key] = cloud.check(group.server)
                except BadTemplateError as error:
                    problems[key] = str(error)
        ahead = 0.0 if theirs is None else theirs.timestamp() - time.time()
    finally:
        cloud.close()
    return CloudView(frozenset(nodes), limits, flavors, problems, ahead)
