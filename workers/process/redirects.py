"""Where a redirect may lead a request that carries a secret. Pure."""

from urllib.parse import SplitResult, urljoin, urlsplit

import requests

_PORTS = {"http": 80, "https": 443}


def followed(url: str, location: str) -> str | None:
    r"""The address to repeat a request at; None if another place would get what it carries.

    Only the same scheme, host and port may, or the same host by https instead of http. The result is
    as `requests` reads the address: "https://evil\@good/" is at evil for it, at good for urllib.

    Args:
        url: of the request.
        location: of the answer, absolute or relative (RFC 9110, section 10.2.2).
    """
    try:
        target = requests.Request("GET", urljoin(url, location.strip())).prepare().url or ""
        before, after = urlsplit(url), urlsplit(target)
        stays = _place(before) == _place(after)
    except ValueError:  # also those of requests
        return None
    upgraded = (before.scheme.lower(), after.scheme.lower()) == ("http", "https")
    return target if stays or (upgraded and before.hostname == after.hostname) else None


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or _PORTS.get(scheme)
