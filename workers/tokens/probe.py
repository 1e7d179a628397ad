"""Tests a cloud as the power worker uses it: a token from the token service, then one small call."""

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
    HTTPStatus.UNAUTHORIZED: "the site refuses a new token of its own Keystone: report this to the site",
    HTTPStatus.FORBIDDEN: "ask the site for a role in this project that may manage servers",
    HTTPStatus.NOT_FOUND: "check region and interface of this cloud",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """The result of a test.

    Attributes:
        user, project: names, with domain and id if Keystone gives them.
        roles: names.
        expires: end of the token, ISO 8601.
        endpoint: of the compute API; None if the catalog has none.
        answer: the result of listing one server, for a message.
        remedy: what to do if the listing failed; None if it succeeded.
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
        name: of the cloud.
        cloud: its settings.
        timeout: of the call, seconds.

    Raises:
        TokenServiceAwayError: the token service did not respond in time.
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
        listing: tuple[str, str | None]
        try:
            endpoint = session.get_endpoint(None, skip_discovery=True, **place)
            listing = _list_one(session, place)
        except keystone_errors.CatalogException:
            endpoint, listing = None, ("has no compute API there", _regions(token))
    return Tried(
        user=_name(token.get("user")),
        project=_name(token.get("project")),
        roles=tuple(str(role.get("name")) for role in token.get("roles", ())),
        expires=str(token.get("expires_at")),
        endpoint=endpoint,
        answer=listing[0],
        remedy=listing[1],
    )


def _list_one(session: Session, place: dict[str, str | None]) -> tuple[str, str | None]:
    """The cloud's response in words, and the remedy if the listing failed."""
    try:
        response = session.get(
            "/servers", params={"limit": "1"}, endpoint_filter=place, raise_exc=False
        )
    except keystone_errors.SSLError:
        return "has a certificate that is not trusted", "set ca_file of this cloud"
    except keystone_errors.ClientException as error:
        return (
            f"does not respond ({type(error).__name__})",
            "check that the endpoint can be reached",
        )
    status = response.status_code
    if status != HTTPStatus.OK:
        return f"responds with {status} {response.reason}", _REMEDIES.get(
            status, "report this to the site"
        )
    try:
        names = [str(server["name"]) for server in response.json()["servers"]]
    except (ValueError, KeyError, TypeError):
        return "responds with 200, but not as Nova does", "check the proxies before the endpoint"
    return (
        f"responds with 200; {f'one server is {names[0]}' if names else 'there are no servers'}",
        None,
    )


def _regions(token: Mapping[str, Any]) -> str:
    entries = [entry for entry in token.get("catalog", ()) if entry.get("type") == "compute"]
    places = {
        f"{endpoint.get('region')} ({endpoint.get('interface')})"
        for entry in entries
        for endpoint in entry.get("endpoints", ())
    }
    return f"set region and interface of this cloud; it has {', '.join(sorted(places)) or 'none'}"


def _name(thing: Mapping[str, Any] | None) -> str:
    """The name of a user or project, with domain and id."""
    if thing is None:
        return "none"
    domain = (thing.get("domain") or {}).get("name")
    return f"{thing.get('name')} ({', '.join(str(x) for x in (domain, thing.get('id')) if x)})"
