"""The addresses of the services: Keystone's catalog and version document."""

import uuid

from starlette.requests import Request

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.web import base_url


def catalog(base: str) -> list[dict[str, object]]:
    """Return the service catalog of a scoped token."""
    return [
        _service("compute", "nova", f"{base}/compute/v2.1"),
        _service("image", "glance", f"{base}/image"),
        _service("network", "neutron", f"{base}/network"),
        _service("identity", "keystone", f"{base}/identity"),
    ]


def _service(kind: str, name: str, url: str) -> dict[str, object]:
    endpoints = [
        {
            "id": uuid.uuid5(uuid.NAMESPACE_URL, f"{url} {interface}").hex,
            "interface": interface,
            "region": credentials.REGION,
            "region_id": credentials.REGION,
            "url": url,
        }
        for interface in ("public", "internal", "admin")
    ]
    service_id = uuid.uuid5(uuid.NAMESPACE_URL, url).hex
    return {"id": service_id, "type": kind, "name": name, "endpoints": endpoints}


def version_document(request: Request) -> dict[str, object]:
    """Return Keystone's version document for discovery."""
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{base_url(request)}/identity/v3/"}],
        "media-types": [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.identity-v3+json",
            }
        ],
    }
