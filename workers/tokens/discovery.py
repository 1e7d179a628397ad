"""Finds a login provider's other endpoints in its discovery document."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from workers.tokens.errors import SourceError
from workers.tokens.transport import Http, answer_in

_DISCOVERY = ".well-known/openid-configuration"


class Provider(msgspec.Struct):
    """What a discovery document says; None for what the provider does not offer."""

    token_endpoint: Any = None
    device_authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None


def provider_of(http: Http, token_endpoint: str) -> Provider:
    """The discovery document of the provider with this token endpoint; empty if there is none.

    The document is below the issuer's address (OpenID Connect Discovery 1.0, 4), which is not
    configured. At Keycloak and most others the token endpoint's address begins with it, so each
    folder of that path is tried for a document that names this token endpoint.

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
    return Provider()


def _document(http: Http, url: str) -> Provider:
    """The JSON object at `url`; empty if there is a page or a redirect."""
    try:
        response = http.get(url)
    except SourceError as error:
        if error.error != "misconfigured":
            raise
        return Provider()
    try:
        return answer_in(response, Provider)
    except SourceError:
        return Provider()
