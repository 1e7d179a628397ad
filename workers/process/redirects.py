"""Where a request goes, and where a redirect may lead it: it carries a secret. Pure."""

from urllib.parse import SplitResult, urljoin, urlsplit

import requests

_PORTS = {"http": 80, "https": 443}


def as_sent(url: str) -> str:
    r"""The address as `requests` reads it: "https://evil\@good/" is at evil for it, at good for urllib.

    Raises:
        ValueError: it is not a URL; the text may quote it.
    """
    return requests.Request("GET", url).prepare().url or ""


def host_of(url: str) -> str:
    """The host of an address as `requests` reads it; empty if it is not a URL."""
    try:
        return urlsplit(as_sent(url)).hostname or ""
    except ValueError:
        return ""


def followed(url: str, location: str) -> str | None:
    """The address to repeat a request at; None if another place would get what it carries.

    Only the same scheme, host and port may, or the same host by https instead of http.

    `location` is the answer's, absolute or relative (RFC 9110, section 10.2.2).
    """
    try:
        target = as_sent(urljoin(url, location.strip()))
        before, after = urlsplit(url), urlsplit(target)
        stays = _place(before) == _place(after)
    except ValueError:
        return None
    upgraded = (before.scheme.lower(), after.scheme.lower()) == ("http", "https")
    return target if stays or (upgraded and before.hostname == after.hostname) else None


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or _PORTS.get(scheme)
