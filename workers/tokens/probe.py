"""Tests a cloud as the power worker uses it: a token from the token service, then one small call."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1.access import AccessInfo
from keystoneauth1.session import Session

from producers.reasons import AuthoritiesError, causes
from workers.config.groups import CloudSettings
from workers.process.foreign import UnreadableError, bounded_session, one_line, read_json
from workers.tokens.client import TokenClient
from workers.tokens.plugin import TokenServicePlugin

_COMPUTE: dict[str, str | None] = {"service_type": "compute"}
_REMEDIES: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the site refuses a new token of its own Keystone: report this to the site",
    HTTPStatus.FORBIDDEN: "ask the site for a role in this project that may manage servers",
    HTTPStatus.NOT_FOUND: "check region and interface of this cloud",
}

_REDIRECT = "ask the site to name the final address in the catalog: a redirect could take the token"


class _ListedServer(msgspec.Struct):
    name: str


class _Servers(msgspec.Struct):
    servers: list[_ListedServer]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a test: the user and project (name, with domain and id), and the names of roles.

    `expires` is the end of the token and `answer` the result of listing one server, for messages;
    `endpoint` that of the compute API, None if the catalog has none. `remedy` is what to do if the
    listing failed.
    """

    user: str
    project: str
    roles: tuple[str, ...]
    expires: str
    endpoint: str | None
    answer: str
    remedy: str | None = None


def probe(client: TokenClient, name: str, cloud: CloudSettings, timeout: float) -> ProbeResult:
    """Get a token for the cloud `name`, and list at most one server within `timeout` seconds.

    Raises:
        TokenServiceAwayError: the token service did not respond in time.
        TokenRefusedError: this cloud has no token now.
    """
    plugin = TokenServicePlugin(client, name, cloud.auth_url)
    with bounded_session(cloud.ca_file, timeout) as http:
        session = Session(
            auth=plugin,
            session=http,
            verify=http.verify,
            timeout=timeout,
            additional_user_agent=[("lamplighter", "1")],
        )
        access = plugin.get_access(session)
        place = {"region_name": cloud.region, "interface": cloud.interface} | _COMPUTE
        try:
            endpoint = session.get_endpoint(None, skip_discovery=True, **place)
            answer, remedy = _list_one(session, place)
        except keystone_errors.CatalogException:
            endpoint, answer, remedy = None, "has no compute API there", _regions(access)
    return ProbeResult(
        user=f"{access.username} ({access.user_domain_name}, {access.user_id})",
        project=f"{access.project_name} ({access.project_domain_name}, {access.project_id})",
        roles=tuple(access.role_names or ()),
        expires=str(access.expires),
        endpoint=endpoint,
        answer=answer,
        remedy=remedy,
    )


def _list_one(session: Session, place: dict[str, str | None]) -> tuple[str, str | None]:
    """The cloud's response in words, and the remedy if the listing failed."""
    try:
        response = session.get(
            "/servers", params={"limit": "1"}, endpoint_filter=place, raise_exc=False
        )
    except keystone_errors.SSLError:
        return "has a certificate that is not trusted", "set ca_file of this cloud"
    except keystone_errors.CatalogException:
        raise
    except Exception as error:  # noqa: BLE001 - keystoneauth may raise anything on an odd answer
        for one in causes(error):
            if isinstance(one, AuthoritiesError):
                return f"was not called: {one}", "correct ca_file of this cloud"
        remedy = "check that the endpoint can be reached"
        return f"does not respond ({type(error).__name__})", remedy
    status = response.status_code
    if status != HTTPStatus.OK:
        elsewhere = HTTPStatus(300) <= status < HTTPStatus.BAD_REQUEST
        remedy = _REDIRECT if elsewhere else _REMEDIES.get(status, "report this to the site")
        return f"responds with {status} {one_line(response.reason or '')}", remedy
    try:
        servers = read_json(response.content, _Servers).servers
    except UnreadableError:
        return "responds with 200, but not as Nova does", "check the proxies before the endpoint"
    found = f"one server is {one_line(servers[0].name)}" if servers else "there are no servers"
    return f"responds with 200; {found}", None


def _regions(access: AccessInfo) -> str:
    endpoints = access.service_catalog.get_endpoints_data(**_COMPUTE).values()
    places = {f"{one.region_name} ({one.interface})" for many in endpoints for one in many}
    return f"set region and interface of this cloud; it has {', '.join(sorted(places)) or 'none'}"
