"""What a service says that repeats all it was sent, secrets too."""

import base64
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, quote_plus

_SECRET_HEADERS = ("x-auth-token", "x-subject-token", "authorization", "webhook-signature")


def echoed(headers: Mapping[str, str], body: bytes) -> str:
    """Each secret of a request and its body: plain, in part, and encoded in each usual way."""
    return " ".join(_forms([*_secrets(headers), *_values(body)]))


def echoing_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of an answer that repeat the request's secrets."""
    said = " ".join(_secrets(headers))[:4000].replace("\n", " ")
    names = ("x-openstack-request-id", "WWW-Authenticate", "Location", "Retry-After", "Set-Cookie")
    return dict.fromkeys(names, said) if said else {}


def _secrets(headers: Mapping[str, str]) -> Iterator[str]:
    for name in _SECRET_HEADERS:
        if name in headers:
            yield headers[name].partition(" ")[2] or headers[name]


def _values(body: bytes) -> Iterator[str]:
    text = body.decode(errors="replace")
    yield from (value for _, value in parse_qsl(text)) if "=" in text else ()
    # of JSON
    yield from re.findall(r'"(?:secret|password|id)"\s*:\s*"([^"]+)"', text)
    yield text


def _forms(texts: list[str]) -> Iterator[str]:
    for text in texts:
        raw = text.encode()
        third = len(text) // 3
        # the pieces first: what a log cuts off must not matter
        yield from (f"...{text[third : third + 12]}...", f"{text[-9:]}", f"{text[:10]}")
        yield from (base64.b64encode(raw[3:40]).decode(), raw.hex(), quote_plus(text))
        yield from (base64.b64encode(b"you:" + raw).decode(), text)
        yield from (text.upper()[2:], "\n".join(text[at : at + 5] for at in range(0, 40, 5)))
        yield from ("".join(f"%{byte:02x}" for byte in raw[:40]), raw.hex().upper()[:60])
        yield "\\u00".join(f"{byte:02x}" for byte in b"x" + raw[:30] if byte < 128)[2:]
