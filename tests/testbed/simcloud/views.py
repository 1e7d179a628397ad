"""Servers as Nova's API shows them, by microversion; renderings are cached until a server changes."""

from datetime import UTC, datetime
from hashlib import md5, sha224

import msgspec

from tests.testbed.simcloud.clock import iso_seconds
from tests.testbed.simcloud.credentials import USER_ID
from tests.testbed.simcloud.flavors import FLAVORS
from tests.testbed.simcloud.model import Server, VmState

_encoder = msgspec.json.Encoder()
Json = dict[str, object]


class ServerView:
    """Renders servers for one base URL (``http://host:port``) and one minor microversion."""

    def __init__(self, base_url: str, minor: int) -> None:
        self._root = f"{base_url}/compute"
        self._minor = minor
        self._kept: dict[str, tuple[int, bytes]] = {}
        self._kept_brief: dict[str, bytes] = {}

    def brief(self, server: Server) -> bytes:
        """Return the server as JSON, as ``GET /servers`` lists it; this never changes."""
        kept = self._kept_brief.get(server.id)
        if kept is None:
            view = {"id": server.id, "name": server.name, "links": self.links(server)}
            kept = self._kept_brief[server.id] = _encoder.encode(view)
        return kept

    def links(self, server: Server) -> list[Json]:
        return [
            {"rel": "self", "href": f"{self._root}/v2.1/servers/{server.id}"},
            {"rel": "bookmark", "href": f"{self._root}/servers/{server.id}"},
        ]

    def detail(self, server: Server) -> bytes:
        """Return the server as JSON, as ``GET /servers/detail`` and ``GET /servers/{id}`` show it."""
        kept = self._kept.get(server.id)
        if kept is not None and kept[0] == server.revision:
            return kept[1]
        rendered = _encoder.encode(self._detail(server))
        self._kept[server.id] = (server.revision, rendered)
        return rendered

    def _detail(self, server: Server) -> Json:
        settled = server.vm_state not in {VmState.SHELVED_OFFLOADED, VmState.DELETED}
        view: Json = {
            "id": server.id,
            "name": server.name,
            "status": server.status,
            "tenant_id": server.project_id,
            "user_id": USER_ID,
            "metadata": server.metadata,
            "hostId": sha224(server.project_id.encode()).hexdigest() if settled else "",
            "image": "" if server.image_id is None else {"id": server.image_id, "links": []},
            "flavor": self._flavor(server),
            "created": iso_seconds(server.created),
            "updated": iso_seconds(server.updated),
            "addresses": {} if server.launched is None else _addresses(server),
            "accessIPv4": "",
            "accessIPv6": "",
            "links": self.links(server),
            "OS-DCF:diskConfig": "MANUAL",
            "OS-EXT-AZ:availability_zone": "nova" if settled else "",
            "config_drive": "",
            "key_name": None,
            "OS-SRV-USG:launched_at": _plain(server.launched),
            "OS-SRV-USG:terminated_at": _plain(server.terminated),
            "OS-EXT-STS:task_state": server.task_state,
            "OS-EXT-STS:vm_state": server.vm_state,
            "OS-EXT-STS:power_state": int(server.power_state),
            "os-extended-volumes:volumes_attached": [],
            "security_groups": [{"name": "default"}],
        }
        if server.status in {"ERROR", "DELETED"} and server.fault is not None:
            view["fault"] = {
                "code": server.fault.code,
                "created": iso_seconds(server.fault.created),
                "message": server.fault.message,
            }
        if server.status in {"ACTIVE", "BUILD"}:
            view["progress"] = 0
        if self._minor >= 9:
            view["locked"] = server.locked
        if self._minor >= 19:
            view["description"] = None
        if self._minor >= 26:
            view["tags"] = server.tags
        if self._minor >= 63:
            view["trusted_image_certificates"] = None
        if self._minor >= 71:
            view["server_groups"] = []
        if self._minor >= 73:
            view["locked_reason"] = None
        return view

    def _flavor(self, server: Server) -> Json:
        flavor = FLAVORS[server.flavor]
        if self._minor < 47:
            href = f"{self._root}/flavors/{flavor.id}"
            return {"id": flavor.id, "links": [{"rel": "bookmark", "href": href}]}
        return {
            "original_name": flavor.name,
            "vcpus": flavor.vcpus,
            "ram": flavor.ram_mib,
            "disk": flavor.disk_gib,
            "ephemeral": 0,
            "swap": 0,
            "extra_specs": {},
        }


def _addresses(server: Server) -> Json:
    networks = server.networks or {"private": [server.address]}
    return {name: [_address(server, one) for one in many] for name, many in networks.items()}


def _address(server: Server, address: str) -> Json:
    tail = md5(server.id.encode(), usedforsecurity=False).hexdigest()
    return {
        "version": 6 if ":" in address else 4,
        "addr": address,
        "OS-EXT-IPS:type": "fixed",
        "OS-EXT-IPS-MAC:mac_addr": f"fa:16:3e:{tail[:2]}:{tail[2:4]}:{tail[4:6]}",
    }


def _plain(at: float | None) -> str | None:
    """Nova writes these two times without a zone and with microseconds."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
