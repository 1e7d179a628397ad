"""The little of Neutron that Nova needs for servers without networks: every collection is empty."""

import json
from collections.abc import Callable, Iterable

_COLLECTIONS = frozenset(
    {"extensions", "floatingips", "networks", "ports", "security-groups", "segments", "subnets"}
)
_Start = Callable[[str, list[tuple[str, str]]], object]


def application(environ: dict[str, str], start_response: _Start) -> Iterable[bytes]:
    """Answer one request (PEP 3333)."""
    status, content = _answer(environ["REQUEST_METHOD"], environ["PATH_INFO"])
    body = json.dumps(content).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


def _answer(method: str, path: str) -> tuple[str, object]:
    match [method, *path.strip("/").split("/")]:
        case ["GET", ""]:
            return "200 OK", {"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}
        case ["GET", "v2.0", "quotas", _]:
            return "200 OK", {"quota": {"network": -1, "port": -1}}
        case ["GET", "v2.0", name] if name in _COLLECTIONS:
            return "200 OK", {name.replace("-", "_"): []}
    message = f"this stub does not know {method} {path}"
    return "404 Not Found", {"NeutronError": {"type": "NotFound", "message": message, "detail": ""}}
