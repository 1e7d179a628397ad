"""Versions and flavors."""

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud.errors import NotFoundError
from tests.testbed.simcloud.flavors import FLAVORS, Flavor
from tests.testbed.simcloud.gate import Call
from tests.testbed.simcloud.nova import V21, NovaService
from tests.testbed.simcloud.novahttp import nova_response, version_document


class DiscoveryApi(NovaService):
    """``/compute``, ``/compute/v2.1`` and ``/compute/v2.1/flavors``."""

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
        ]

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
