"""The part of Neutron that Nova needs: one shared network, two security groups, ports in memory.

Its addresses are in the loopback range, so that programs on this machine answer at them.
"""

import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network
from itertools import islice
from typing import Any, TypeAlias
from urllib.parse import parse_qs

Json: TypeAlias = dict[str, Any]
_Start: TypeAlias = Callable[[str, list[tuple[str, str]]], object]

NETWORK_NAME = "nodes-net"
SECURITY_GROUPS = ("default", "cluster")
_SUBNET = IPv4Network("127.8.0.0/16")
_PRESENTATION = {"fields", "limit", "marker", "page_reverse", "sort_dir", "sort_key"}
"""Query parameters that choose no entries."""


class Neutron:
    """The collections, by their names in the API."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._addresses = islice(_SUBNET.hosts(), 9, None)
        network, subnet = _id("network"), _id("subnet")
        self._collections: dict[str, dict[str, Json]] = {
            "networks": {network: _network(network, subnet)},
            "subnets": {subnet: _subnet(subnet, network)},
            "security-groups": {
                _id(name): {"id": _id(name), "name": name} for name in SECURITY_GROUPS
            },
            "ports": {},
            "extensions": {},
            "floatingips": {},
            "segments": {},
        }

    def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[str, Json | None]:
        """Return status line and content."""
        with self._guard:
            match [method, *path.strip("/").split("/")]:
                case ["GET", ""]:
                    version = {"id": "v2.0", "status": "CURRENT", "links": []}
                    return "200 OK", {"versions": [version]}
                case ["GET", "v2.0", "quotas", _]:
                    return "200 OK", {"quota": {"network": -1, "port": -1}}
                case ["GET", "v2.0", name] if name in self._collections:
                    entries = list(_matching(self._collections[name].values(), parse_qs(query)))
                    return "200 OK", {name.replace("-", "_"): entries}
                case ["POST", "v2.0", "ports"]:
                    return "201 Created", {"port": self._add_port(json.loads(body)["port"])}
                case [_, "v2.0", name, key] if key in self._collections.get(name, {}):
                    return self._answer_about(method, name, key, body)
        return _not_found(f"{method} {path}")

    def _answer_about(
        self, method: str, name: str, key: str, body: bytes
    ) -> tuple[str, Json | None]:
        kind = name.removesuffix("s").replace("-", "_")
        entries = self._collections[name]
        match method:
            case "GET":
                return "200 OK", {kind: entries[key]}
            case "PUT":
                entries[key] |= json.loads(body)[kind]
                return "200 OK", {kind: entries[key]}
            case "DELETE":
                del entries[key]
                return "204 No Content", None
        return _not_found(f"{method} of a {kind}")

    def _add_port(self, wanted: Json) -> Json:
        key = str(uuid.uuid4())
        address = {"subnet_id": _id("subnet"), "ip_address": str(next(self._addresses))}
        port = {
            "id": key,
            "name": "",
            "status": "ACTIVE",
            "admin_state_up": True,
            "mac_address": f"fa:16:3e:{key[:2]}:{key[2:4]}:{key[4:6]}",
            "fixed_ips": [address],
            "security_groups": [_id("default")],
            "binding:vif_type": "other",
            "binding:vif_details": {},
            "binding:vnic_type": "normal",
            "binding:profile": {},
            "device_owner": "",
        }
        given = {name: value for name, value in wanted.items() if name != "fixed_ips"}
        self._collections["ports"][key] = port | given
        return self._collections["ports"][key]


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.neutron.invalid"))


def _network(key: str, subnet: str) -> Json:
    return {
        "id": key,
        "name": NETWORK_NAME,
        "tenant_id": "the-sites-own",
        "status": "ACTIVE",
        "admin_state_up": True,
        "shared": True,
        "router:external": False,
        "port_security_enabled": True,
        "mtu": 1500,
        "subnets": [subnet],
    }


def _subnet(key: str, network: str) -> Json:
    return {
        "id": key,
        "name": NETWORK_NAME,
        "network_id": network,
        "ip_version": 4,
        "cidr": str(_SUBNET),
        "gateway_ip": str(_SUBNET[1]),
        "enable_dhcp": False,
        "dns_nameservers": [],
        "host_routes": [],
    }


def _matching(entries: Iterable[Json], query: dict[str, list[str]]) -> Iterator[Json]:
    """Return the entries that have one of the requested values, or lack the member."""
    chosen = {name: values for name, values in query.items() if name not in _PRESENTATION}
    for entry in entries:
        if all(
            name not in entry or str(entry[name]).lower() in {value.lower() for value in values}
            for name, values in chosen.items()
        ):
            yield entry


def _not_found(what: str) -> tuple[str, Json]:
    fault = {"type": "NotFound", "message": f"{what} is not here", "detail": ""}
    return "404 Not Found", {"NeutronError": fault}


def create() -> Callable[[dict[str, Any], _Start], Iterable[bytes]]:
    """Return the application (PEP 3333)."""
    neutron = Neutron()

    def application(environ: dict[str, Any], start_response: _Start) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        status, content = neutron.answer(method, path, environ["QUERY_STRING"], body)
        answer = b"" if content is None else json.dumps(content).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
        start_response(status, headers)
        return [answer]

    return application
