"""Finds a login provider's other endpoints in its discovery document."""

from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from schemas.fields import shown
from workers.process.redirects import host_of
from workers.tokens.errors import SourceError
from workers.tokens.transport import Http, answer_in

_DISCOVERY = ".well-known/openid-configuration"


Endpoint = Literal["device_authorization_endpoint", "revocation_endpoint"]


class _Provider(msgspec.Struct):
    """What a discovery document says; None for what the provider does not offer."""

    token_endpoint: Any = None
    device_authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None


def endpoint_of(http: Http, token_endpoint: str, name: Endpoint) -> str | None:
    """An endpoint of the provider with this token endpoint; None if it does not offer it.

    Only one on the token endpoint's own host, which gets our secrets in any case: the document may
    lie in a folder that others can write to.

    Raises:
        SourceError: the provider does not respond, or names an endpoint on another host.
    """
    found: str | None = getattr(_provider_of(http, token_endpoint), name)
    host = host_of(token_endpoint)
    if found is None or host_of(found) == host:
        return found
    raise SourceError(
        "foreign_endpoint",
        f"the login provider's discovery document names a {name} on another host than {host}:"
        f" {shown(http.secrets.safe(host_of(found)))}",
        permanent=True,
        remedy="ask the provider whether the document is its own; nothing was sent there",
    )


def _provider_of(http: Http, token_endpoint: str) -> _Provider:
    """The discovery document of the provider with this token endpoint; empty if there is none.

    The document is below the issuer's address (OpenID Connect Discovery 1.0, 4), which is not
    configured. At Keycloak and most others the token endpoint's address begins with it, so each
    folder of that path is tried for a document that names this token endpoint. (Google's is on
    another host, and is not found.)

    Raises:
        SourceError: the provider does not respond.
    """
    parts = urlsplit(token_endpoint)
    folders = parts.path.strip("/").split("/")[:-1]
    for count in range(len(folders), -1, -1):
        path = "/".join(["", *folders[:count], _DISCOVERY])
        document = _document(http, urlunsplit((parts.scheme, parts.netloc, path, "", "")))
        if document.token_endpoint == token_endpoint:
            return document
    return _Provider()


def _document(http: Http, url: str) -> _Provider:
    """The JSON object at `url`; empty if there is a page or a redirect."""
    try:
        response = http.get(url)
    except SourceError as error:
        if error.error != "misconfigured":
            raise
        return _Provider()
    try:
        return answer_in(response, _Provider)
    except SourceError:
        return _Provider()
