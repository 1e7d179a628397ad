"""Create the initial content of the cloud through its APIs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.testbed.openstack.api import (
    Json,
    Keystone,
    Service,
    Token,
    by_password,
    checked,
    in_project,
)
from tests.testbed.openstack.layout import ADMIN_PASSWORD, SERVICE_PASSWORD
from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.flavors import FLAVORS

if TYPE_CHECKING:
    from tests.testbed.openstack.layout import Layout

IMAGE_NAME = "node-image"
GROUP_NAME = "vo.example.org"
UNLIMITED = ("instances", "cores", "ram", "server_groups", "key_pairs")


def seed_identity(layout: Layout) -> None:
    """Create users, projects, the catalogue and the federation; needs only Keystone."""
    # Keystone's own address, because Apache need not run for this.
    auth_url = f"{layout.url('keystone_wsgi')}/v3"
    with Keystone(auth_url) as keystone:
        login = by_password("admin", ADMIN_PASSWORD)
        token = Token.of(keystone.login(login, in_project("admin")))
        with Service(auth_url, token.id) as identity:
            _Identity(identity).seed(layout)
        user = by_password(credentials.USERNAME, credentials.PASSWORD)
        token = Token.of(keystone.login(user, in_project(credentials.PROJECT_NAME)))
        with Service(auth_url, token.id) as identity:
            _add_application_credential(identity, token.body["user"]["id"])


class _Identity:
    """Keystone's API, with the administrator's login."""

    def __init__(self, api: Service) -> None:
        self._api = api
        self._roles = self._ids("roles")

    def seed(self, layout: Layout) -> None:
        self._add_services(layout)
        user = self._add("user", name=credentials.USERNAME, password=credentials.PASSWORD)
        project = self._add("project", name=credentials.PROJECT_NAME)
        other = self._add("project", name=credentials.OTHER_PROJECT_NAME)
        for project_id in (project, other):
            self._assign(project_id, f"users/{user}", "member")
        reader = self._add("user", name=credentials.READER, password=credentials.PASSWORD)
        self._assign(project, f"users/{reader}", "reader")
        self._add_federation(layout.issuer, project)

    def _add_services(self, layout: Layout) -> None:
        project = self._add("project", name="service")
        for name in ("nova", "placement", "glance"):
            user = self._add("user", name=name, password=SERVICE_PASSWORD)
            for role in ("admin", "service"):
                self._assign(project, f"users/{user}", role)
        for name, kind, url in (
            ("nova", "compute", layout.compute_url),
            ("placement", "placement", layout.url("placement")),
            ("glance", "image", layout.url("glance")),
            ("neutron", "network", layout.url("neutron")),
        ):
            service = self._add("service", name=name, type=kind)
            for interface in ("public", "internal", "admin"):
                self._add(
                    "endpoint",
                    service_id=service,
                    interface=interface,
                    url=url,
                    region_id=credentials.REGION,
                )

    def _add_federation(self, issuer: str, project: str) -> None:
        """Map as EGI's sites do: users with the VO's entitlement get a role in the VO's project."""
        group = self._add("group", name=GROUP_NAME)
        self._assign(project, f"groups/{group}", "member")
        local = [{"user": {"name": "{0}", "type": "ephemeral"}, "group": {"id": group}}]
        # Apache joins several values by semicolons.
        pattern = f"^(.*;)?{re.escape(credentials.ENTITLEMENT)}(;.*)?$"
        rules = [
            {
                "local": local,
                "remote": [
                    {"type": "HTTP_OIDC_SUB"},
                    {"type": "HTTP_OIDC_ISS", "any_one_of": [issuer]},
                    {"type": claim, "any_one_of": [pattern], "regex": True},
                ],
            }
            for claim in ("HTTP_OIDC_ENTITLEMENTS", "HTTP_OIDC_EDUPERSON_ENTITLEMENT")
        ]
        provider = f"/OS-FEDERATION/identity_providers/{credentials.IDENTITY_PROVIDER}"
        about = {"remote_ids": [issuer], "enabled": True}
        self._api.ask("PUT", provider, {"identity_provider": about})
        self._api.ask("PUT", "/OS-FEDERATION/mappings/egi", {"mapping": {"rules": rules}})
        protocol = f"{provider}/protocols/{credentials.FEDERATION_PROTOCOL}"
        self._api.ask("PUT", protocol, {"protocol": {"mapping_id": "egi"}})

    def _add(self, kind: str, **fields: str) -> str:
        if kind in {"user", "project", "group"}:
            fields["domain_id"] = "default"
        made: Json = self._api.ask("POST", f"/{kind}s", {kind: fields})[kind]
        return str(made["id"])

    def _ids(self, kinds: str) -> dict[str, str]:
        return {entry["name"]: entry["id"] for entry in self._api.ask("GET", f"/{kinds}")[kinds]}

    def _assign(self, project: str, whom: str, role: str) -> None:
        self._api.ask("PUT", f"/projects/{project}/{whom}/roles/{self._roles[role]}")


def _add_application_credential(identity: Service, user_id: str) -> None:
    about = {
        "name": credentials.APPLICATION_CREDENTIAL_NAME,
        "secret": credentials.APPLICATION_CREDENTIAL_SECRET,
    }
    path = f"/users/{user_id}/application_credentials"
    identity.ask("POST", path, {"application_credential": about})


def seed_compute(layout: Layout) -> None:
    """Create flavors, an image and a quota; needs all services."""
    with Keystone(layout.auth_url) as keystone:
        admin = by_password("admin", ADMIN_PASSWORD)
        token = Token.of(keystone.login(admin, in_project("admin")))
    with Service(layout.compute_url, token.id) as nova:
        for flavor in FLAVORS.values():
            about = {
                "id": flavor.id,
                "name": flavor.name,
                "vcpus": flavor.vcpus,
                "ram": flavor.ram_mib,
                "disk": flavor.disk_gib,
            }
            nova.ask("POST", "/flavors", {"flavor": about})
        with Service(layout.auth_url, token.id) as identity:
            path = f"/projects?name={credentials.PROJECT_NAME}"
            project = identity.ask("GET", path)["projects"][0]["id"]
        # The other project keeps Nova's default quota of 10 instances.
        nova.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": dict.fromkeys(UNLIMITED, -1)})
    with Service(layout.url("glance"), token.id) as glance:
        about = {
            "name": IMAGE_NAME,
            "disk_format": "raw",
            "container_format": "bare",
            "visibility": "public",
        }
        image = glance.ask("POST", "/v2/images", about)["id"]
        checked(glance.upload(f"/v2/images/{image}/file", bytes(1024)))
