"""Checks the clouds: rights, quota, templates, servers, clock. Tokens come from the token service."""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import hostlist

from ops.cli.session import Session
from ops.cli.terminal import cut
from ops.doctor.parts import of_clock
from ops.site.findings import Finding, away, note, wrong
from ops.site.kinds import Kind
from workers.clouds.client import Cloud
from workers.clouds.errors import BadTemplateError, CloudError, CloudSettingError
from workers.clouds.quota import Flavor, Limits, Wish, shortages
from workers.clouds.servers import node_address
from workers.clouds.template_check import PartProblem
from workers.config.settings import Settings
from workers.errors import LamplighterError, TokenRefusedError
from workers.tokens.client import TokenClient
from workers.tokens.plugin import TokenServicePlugin

_SECONDS = 10.0
_FORBIDDEN = 403
# Keystone's own role of those who may change nothing; a site may have others, which say nothing to us.
_ONLY_LOOK = frozenset({"reader"})


@dataclass(frozen=True, slots=True)
class CloudView:
    """What a cloud shows.

    Attributes:
        servers: the nodes that have a server.
        limits: the project's quota; None if the cloud does not show it.
        flavors: of the groups whose templates are right.
        problems: of the other groups' templates.
        parts: what is wrong with the templates' key, security groups, zone and server group, by group.
        unreachable: nodes whose servers have addresses, but none that would be the node's.
        ahead: seconds by which the cloud's clock is ahead of ours.
        roles: the names of the login's roles; empty if its token has none.
    """

    servers: frozenset[str]
    limits: Limits | None = None
    flavors: Mapping[str, Flavor] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Sequence[PartProblem]] = field(default_factory=dict)
    unreachable: frozenset[str] = frozenset()
    ahead: float = 0.0
    roles: frozenset[str] = frozenset()


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
                except (TokenRefusedError, CloudSettingError) as error:  # of this cloud alone
                    yield _away(name, error)
    except LamplighterError as error:
        words = f"no cloud can be looked at: {error}"
        remedy = "start the token service: systemctl start lamplighter-tokens"
        yield away(Kind.CLOUD, words, remedy)


def _refused(name: str, error: CloudError) -> Finding:
    if error.status == _FORBIDDEN:
        words = f"clouds.{name}: the cloud forbids: {error}"
        return wrong(Kind.CLOUD_RIGHTS, words, _role_remedy(name))
    return _away(name, error)


def _away(name: str, error: Exception) -> Finding:
    remedy = f"lamplighter tokens test {shlex.quote(name)} shows login and compute API"
    return away(Kind.CLOUD, f"clouds.{name}: {error}", remedy)


def _role_remedy(name: str) -> str:
    return f"give the login of clouds.{name} the role member in its project"


def of_cloud(name: str, settings: Settings, view: CloudView) -> Iterator[Finding]:
    """What one cloud's view shows to be wrong. Pure."""
    yield from of_clock(f"the cloud {name}", view.ahead, 0.0)
    if view.roles and view.roles <= _ONLY_LOOK:
        words = f"clouds.{name}: the login has only the role {'/'.join(sorted(view.roles))}"
        words += ", which may list servers, but not start, stop, create or delete them"
        yield wrong(Kind.CLOUD_RIGHTS, words, _role_remedy(name))
    wishes = []
    for key, group in settings.groups.items():
        if group.cloud != name:
            continue
        if key in view.problems:
            remedy = f"correct [groups.{key}.server] in lamplighter.toml"
            yield wrong(Kind.TEMPLATE, f"groups.{key}.server: {view.problems[key]}", remedy)
        yield from _of_parts(f"groups.{key}.server", view.parts.get(key, ()))
        nodes = [node for node, of in settings.nodes.items() if of == key]
        absent = [node for node in nodes if node not in view.servers]
        if settings.slurm.set_addresses and (
            no := [one for one in nodes if one in view.unreachable]
        ):
            where = f"on the network {group.network}" if group.network else "that others can reach"
            words = (
                f"groups.{key}: {len(no)} of {len(nodes)} nodes have a server without an address {where}: "
                f"slurm.set_addresses sets none: {cut(hostlist.collect_hostlist(no))}"
            )
            remedy = f"correct network in [groups.{key}]: the one whose address is the node's"
            yield wrong(Kind.USELESS, words, remedy)
        wishes.append(Wish(len(absent), view.flavors.get(key)))
        if absent and group.strategy != "delete":
            names = cut(hostlist.collect_hostlist(absent))
            words = f"groups.{key}: {len(absent)} of {len(nodes)} nodes have no server: {names}"
            remedy = f'lamplighter nodes deploy {key} --reason "first nodes"'
            yield wrong(Kind.SERVERS_MISSING, words, remedy)
    for problem in shortages(view.limits, wishes) if view.limits else ():
        words = f"clouds.{name}: the quota is below what all nodes need: {problem}"
        yield wrong(
            Kind.QUOTA, words, "ask the cloud for a larger quota, or make the groups smaller"
        )


def _of_parts(table: str, problems: Sequence[PartProblem]) -> Iterator[Finding]:
    for one in dict.fromkeys(problems):
        if one.is_known:
            remedy = f"correct {one.field} in [{table}] in lamplighter.toml"
            yield wrong(Kind.TEMPLATE, f"{table}.{one.field}: {one.words}", remedy)
        else:
            words = f"{table}.{one.field} was not checked: {one.words}"
            remedy = f"look at {one.field} in the cloud yourself"
            yield note(Kind.CLOUDS_UNKNOWN, words, remedy)


def _look(name: str, settings: Settings, client: TokenClient) -> CloudView:
    """Read the cloud; errors as those of its client."""
    of_cloud = settings.clouds[name]
    plugin = TokenServicePlugin(client, name, of_cloud.auth_url)
    groups = {key: group for key, group in settings.groups.items() if group.cloud == name}
    cloud = Cloud(of_cloud, plugin, _SECONDS, settings.cluster, groups)
    flavors, problems, parts = {}, {}, {}
    try:
        servers = {one.node or one.name: one for one in cloud.list_servers(None).servers}
        unreachable = frozenset(
            node
            for node, server in servers.items()
            if (group := groups.get(settings.nodes.get(node, ""))) is not None
            and server.addresses
            and node_address(server, group) is None
        )
        limits, theirs = cloud.limits()
        for key, group in groups.items():
            if group.server is not None:
                try:
                    flavors[key] = cloud.check(group.server)
                except BadTemplateError as error:
                    problems[key] = str(error)
                parts[key] = cloud.part_problems(group.server)
        roles = frozenset(map(str.lower, plugin.get_access().role_names or ()))
        ahead = 0.0 if theirs is None else theirs.timestamp() - time.time()
    finally:
        cloud.close()
    return CloudView(
        frozenset(servers), limits, flavors, problems, parts, unreachable, ahead, roles
    )
