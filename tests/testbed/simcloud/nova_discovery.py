"""Versions, flavors, limits, and what else servers are created with."""

import uuid

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud.errors import NotFoundError
from tests.testbed.simcloud.flavors import FLAVORS, Flavor
from tests.testbed.simcloud.gate import Call
from tests.testbed.simcloud.nova import V21, NovaService, decode
from tests.testbed.simcloud.novahttp import nova_response, version_document


class _Named(msgspec.Struct):
    name: str


class _KeyPairBody(msgspec.Struct):
    keypair: _Named


class _ServerGroupBody(msgspec.Struct):
    server_group: _Named


class DiscoveryApi(NovaService):
    """``/compute``, ``/compute/v2.1`` and its flavors, limits, key pairs, zones and server groups."""

    def routes(self) -> list[Route]:
        return [
            self.route("GET", "/compute", "compute_version", self._versions),
            self.route("GET", "/compute/", "compute_version", self._versions),
            self.route("GET", V21, "compute_version", self._version),
            self.route("GET", f"{V21}/", "compute_version", self._version),
            self.route("GET", f"{V21}/flavors", "flavors", self._flavors),
            self.route("GET", f"{V21}/flavors/detail", "flavors", self._flavors),
            self.route("GET", f"{V21}/flavors/{{flavor_id}}", "flavors", self._flavor),
            self.route("GET", f"{V21}/limits", "flavors", self._limits),
            self.route("GET", f"{V21}/os-keypairs", "key_pairs", self._key_pairs),
            self.route("POST", f"{V21}/os-keypairs", "key_pairs", self._add_key_pair),
            self.route("GET", f"{V21}/os-availability-zone", "zones", self._zones),
            self.route("GET", f"{V21}/os-server-groups", "server_groups", self._server_groups),
            self.route("POST", f"{V21}/os-server-groups", "server_groups", self._add_server_group),
        ]

    def _key_pairs(self, call: Call) -> Response:
        self.project(call)
        found = [{"keypair": _key_pair(name)} for name in self.compute.dials.now.key_pairs]
        return nova_response(call, msgspec.json.encode({"keypairs": found}))

    def _add_key_pair(self, call: Call) -> Response:
        self.project(call)
        name, dials = decode(call.body, _KeyPairBody).keypair.name, self.compute.dials
        dials.now = dials.now.changed({"key_pairs": [*dials.now.key_pairs, name]})
        return nova_response(call, msgspec.json.encode({"keypair": _key_pair(name)}))

    def _zones(self, call: Call) -> Response:
        self.project(call)
        found = [
            {"zoneName": name, "zoneState": {"available": available}, "hosts": None}
            for name, available in self.compute.dials.now.zones.items()
        ]
        return nova_response(call, msgspec.json.encode({"availabilityZoneInfo": found}))

    def _server_groups(self, call: Call) -> Response:
        self.project(call)
        found = [_server_group(*one) for one in self.compute.dials.now.server_groups.items()]
        return nova_response(call, msgspec.json.encode({"server_groups": found}))

    def _add_server_group(self, call: Call) -> Response:
        self.project(call)
        name, dials = decode(call.body, _ServerGroupBody).server_group.name, self.compute.dials
        new = str(uuid.uuid4())
        dials.now = dials.now.changed({"server_groups": dials.now.server_groups | {new: name}})
        body = {"server_group": _server_group(new, name)}
        return nova_response(call, msgspec.json.encode(body))

    def _flavors(self, call: Call) -> Response:
        self.project(call)
        flavors = [_flavor_view(flavor) for flavor in FLAVORS.values()]
        return nova_response(call, msgspec.json.encode({"flavors": flavors}))

    def _flavor(self, call: Call) -> Response:
        self.project(call)
        wanted = call.request.path_params["flavor_id"]
        flavor = next((f for f in FLAVORS.values() if f.id == wanted), None)
        if flavor is None:
            raise NotFoundError(f"Flavor {wanted} could not be found.")
        return nova_response(call, msgspec.json.encode({"flavor": _flavor_view(flavor)}))

    def _limits(self, call: Call) -> Response:
        project = self.project(call)
        used = [server for server in self.compute.all() if server.project_id == project]
        quota = self.compute.dials.now.instance_quota
        absolute = {
            "maxTotalInstances": -1 if quota is None else quota,
            "totalInstancesUsed": len(used),
            "maxTotalCores": -1,
            "totalCoresUsed": len(used),
            "maxTotalRAMSize": -1,
            "totalRAMUsed": 512 * len(used),
        }
        return nova_response(call, msgspec.json.encode({"limits": {"absolute": absolute}}))

    def _version(self, call: Call) -> Response:
        document = version_document(call.request)
        return nova_response(call, msgspec.json.encode({"version": document}))

    def _versions(self, call: Call) -> Response:
        document = version_document(call.request)
        return nova_response(call, msgspec.json.encode({"versions": [document]}))


def _key_pair(name: str) -> dict[str, object]:
    return {"name": name, "public_key": "ssh-rsa AAAA", "fingerprint": ":".join(["00"] * 16)}


def _server_group(group_id: str, name: str) -> dict[str, object]:
    return {"id": group_id, "name": name, "policies": ["affinity"], "members": [], "metadata": {}}


def _flavor_view(flavor: Flavor) -> dict[str, object]:
    return {
        "id": flavor.id,
        "name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram_mib,
        "disk": flavor.disk_gib,
        "swap": "",
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
        "rxtx_factor": 1.0,
        "links": [],
    }
