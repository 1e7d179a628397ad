"""Trying a cloud as the power worker does: a token from the token service, then one small call."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1.session import Session

from workers.config.groups import CloudSettings
from workers.tokens.client import TokenClient
from workers.tokens.plugin import TokenServicePlugin

_REMEDIES: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the site refuses a token fresh from its own Keystone: tell the site",
    HTTPStatus.FORBIDDEN: "ask the site for a role in this project that may manage servers",
    HTTPStatus.NOT_FOUND: "check region and interface of this cloud",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it.

    Attributes:
        user, project: names, with the domain's where Keystone tells it.
        roles: names.
        expires: when the token ends, ISO 8601.
        endpoint: of the compute API; None where the catalog has none.
        answer: what the cloud said to a listing of one server, in words.
        remedy: what to do where the listing failed; None where it went well.
    """

    user: str
    project: str
    roles: tuple[str, ...]
    expires: str
    endpoint: str | None
    answer: str
    remedy: str | None = None


def probe(client: TokenClient, name: str, cloud: CloudSettings, timeout: float) -> Tried:
    """Get a token and list at most one server with it.

    Args:
        client: the connection to the token service.
        name: the cloud's.
        cloud: its settings.
        timeout: of the call, seconds.

    Raises:
        TokenServiceAwayError: nobody answered in time.
        TokenRefusedError: this cloud has no token now.
    """
    token: Mapping[str, Any] = client.fetch(name).body["token"]
    plugin = TokenServicePlugin(client, name, cloud.auth_url)
    with requests.Session() as http:
        session = Session(
            auth=plugin,
            session=http,
            verify=str(cloud.ca_file) if cloud.ca_file else True,
            timeout=timeout,
            additional_user_agent=[("lamplighter", "1")],
        )
        place = {
            "service_type": "compute",
            "region_name": cloud.region,
            "interface": cloud.interface,
        }
        said: tuple[str, str | None]
        try:
            endpoint = session.get_endpoint(None, skip_discovery=True, **place)
            said = _list_one(session, place)
        except keystone_errors.CatalogException:
            endpoint, said = None, ("has no compute API there", _regions(token))
    return Tried(
        user=_name(token.get("user")),
        project=_name(token.get("project")),
        roles=tuple(str(role.get("name")) for role in token.get("roles", ())),
        expires=str(token.get("expires_at")),
        endpoint=endpoint,
        answer=said[0],
        remedy=said[1],
    )


def _list_one(session: Session, place: dict[str, str | None]) -> tuple[str, str | None]:
    """The cloud's answer, and the remedy where it is none we want."""
    try:
        response = session.get(
            "/servers", params={"limit": "1"}, endpoint_filter=place, raise_exc=False
        )
    except keystone_errors.SSLError:
        return "shows a certificate that is not trusted", "set ca_file of this cloud"
    except keystone_errors.ClientException as error:
        return f"does not answer ({type(error).__name__})", "check that the endpoint can be reached"
    status = response.status_code
    if status != HTTPStatus.OK:
        return f"answers {status} {response.reason}", _REMEDIES.get(status, "tell the site")
    try:
        names = [str(server["name"]) for server in response.json()["servers"]]
    except (ValueError, KeyError, TypeError):
        return "answers 200, but not as Nova does", "check what stands before the endpoint"
    return f"answers 200; {f'a server is {names[0]}' if names else 'there are no servers'}", None


def _regions(token: Mapping[str, Any]) -> str:
    entries = [entry for entry in token.get("catalog", ()) if entry.get("type") == "compute"]
    places = {
        f"{endpoint.get('region')} ({endpoint.get('interface')})"
        for entry in entries
        for endpoint in entry.get("endpoints", ())
    }
    return f"set region and interface of this cloud; it has {', '.join(sorted(places)) or 'none'}"


def _name(thing: Mapping[str, Any] | None) -> str:
    """A user's or a project's name, domain and id."""
    if thing is None:
        return "none"
    domain = (thing.get("domain") or {}).get("name")
    return f"{thing.get('name')} ({', '.join(str(x) for x in (domain, thing.get('id')) if x)})"
