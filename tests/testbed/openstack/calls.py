"""The calls that clients made, from the access logs of the public APIs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.testbed.openstack.api import USER_AGENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.testbed.openstack.layout import Layout

# The format in the settings of gunicorn and Apache.
_LINE = re.compile(
    r"(?P<status>\d+) (?P<microseconds>\d+) (?P<method>\w+)"
    r' "(?P<path>[^"]*)" "\??(?P<query>[^"]*)" "(?P<agent>.*)"'
)
# Method and path of each kind of call; the kinds have the names of the simulated cloud.
_COMPUTE = {
    "list_detail": r"GET (/v2\.1)?/servers/detail",
    "list": r"GET (/v2\.1)?/servers",
    "get": r"GET (/v2\.1)?/servers/[^/]+",
    "create": r"POST (/v2\.1)?/servers",
    "delete": r"DELETE (/v2\.1)?/servers/[^/]+",
    "action": r"POST (/v2\.1)?/servers/[^/]+/action",
    "metadata": r"\w+ (/v2\.1)?/servers/[^/]+/metadata.*",
    "tags": r"\w+ (/v2\.1)?/servers/[^/]+/tags.*",
    "flavors": r"GET (/v2\.1)?/flavors.*",
    "compute_version": r"GET (/v2\.1)?/?",
}
_IDENTITY = {
    "token": r"POST /v3/auth/tokens",
    "federation": r"\w+ /v3/OS-FEDERATION/identity_providers/.*",
    "projects": r"GET /v3/auth/projects",
    "identity_version": r"GET /(v3/?)?",
}
_LISTS = {"list", "list_detail"}


@dataclass(frozen=True)
class ApiCall:
    """One call of Nova or Keystone that the test bed did not make.

    Attributes:
        kind: Its name in the simulated cloud; "action" for all actions, "token" for all logins at
            Keystone, "other" for calls without a name.
    """

    kind: str
    method: str
    path: str
    status: int
    seconds: float


def read_calls(layout: Layout) -> Iterator[ApiCall]:
    """Read all calls so far, service by service."""
    yield from _read(layout.log / "nova-api-access.log", _COMPUTE)
    yield from _read(layout.log / "keystone-public-access.log", _IDENTITY)


def count_calls(layout: Layout) -> Counter[str]:
    """Return the number of calls, by kind."""
    return Counter(call.kind for call in read_calls(layout))


def _read(log: Path, kinds: dict[str, str]) -> Iterator[ApiCall]:
    for line in log.read_text().splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{log}: not in the configured format: {line!r}")
        if match["agent"] == USER_AGENT:
            continue
        method, path = match["method"], match["path"]
        yield ApiCall(
            kind=_kind(kinds, f"{method} {path}", match["query"]),
            method=method,
            path=path,
            status=int(match["status"]),
            seconds=int(match["microseconds"]) / 1e6,
        )


def _kind(kinds: dict[str, str], call: str, query: str) -> str:
    kind = next((name for name, pattern in kinds.items() if re.fullmatch(pattern, call)), "other")
    return "list_page" if kind in _LISTS and "marker=" in query else kind
