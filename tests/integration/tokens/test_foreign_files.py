"""Tests of logins to clouds that fedcloud's site files and clouds.yaml define."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testbed.simcloud import credentials
from tests.testbed.token_site import TokenSite, serving
from workers.errors import TokenRefusedError
from workers.tokens.client import TokenClient

if TYPE_CHECKING:
    from tests.testbed.simcloud.handle import SimCloud

# openstacksdk uses a part of itself that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")
VO = "vo.example.org"


def project_of(client: TokenClient, cloud: str) -> str:
    return str(client.fetch(cloud).body["token"]["project"]["id"])


def test_site_file_of_fedcloud_defines_a_cloud(cloud: SimCloud, site: TokenSite) -> None:
    (site.folder / "site.yaml").write_text(
        f"gocdb: SIM\nendpoint: {cloud.auth_url}\nvos:\n"
        f"- name: {VO}\n  auth:\n    project_id: {credentials.PROJECT_ID}\n"
    )
    source = site.refresh_token_cloud(cloud)["source"]
    settings = site.configure({"a": {"fedcloud_site": "site.yaml", "vo": VO, "source": source}})
    with serving(settings), TokenClient(settings, "power") as client:
        assert project_of(client, "a") == credentials.PROJECT_ID
        assert site.lamplighter("tokens", "test", "a").code == 0


def clouds_yaml(cloud: SimCloud, secret: str = credentials.APPLICATION_CREDENTIAL_SECRET) -> str:
    return f"""\
clouds:
  robot:
    auth_type: v3applicationcredential
    auth:
      auth_url: {cloud.auth_url}
      application_credential_id: {credentials.APPLICATION_CREDENTIAL_ID}
      application_credential_secret: {secret}
  person:
    auth_type: v3password
    auth:
      auth_url: {cloud.auth_url}
      username: {credentials.USERNAME}
      password: {credentials.PASSWORD}
      user_domain_id: {credentials.DOMAIN_ID}
      project_id: {credentials.PROJECT_ID}
"""


def test_entries_of_clouds_yaml_define_clouds(cloud: SimCloud, site: TokenSite) -> None:
    site.secret("clouds.yaml", clouds_yaml(cloud))
    settings = site.configure(
        {"robot": {"clouds_yaml": "clouds.yaml"}, "person": {"clouds_yaml": "clouds.yaml"}}
    )
    with serving(settings), TokenClient(settings, "power") as client:
        assert project_of(client, "robot") == project_of(client, "person") == credentials.PROJECT_ID
        assert site.lamplighter("tokens", "test", "robot").code == 0
        status = site.lamplighter("tokens", "status").out
    assert cloud.counts()["token_application_credential"] == 1
    assert cloud.counts()["token_password"] == 1
    assert "entry robot of file" in status
    assert credentials.APPLICATION_CREDENTIAL_SECRET not in status
    login = site.lamplighter("tokens", "login", "robot", typed="x")
    assert (login.code, "store the new secret there" in login.err) == (2, True)


def test_changed_entry_is_tried_at_once_and_a_bad_one_is_reported_with_its_place(
    cloud: SimCloud, site: TokenSite
) -> None:
    path = site.secret("clouds.yaml", clouds_yaml(cloud, "wrong"))
    settings = site.configure({"robot": {"clouds_yaml": "clouds.yaml"}})
    with serving(settings), TokenClient(settings, "power") as client:
        for _ in range(3):
            with pytest.raises(TokenRefusedError) as caught:
                client.fetch("robot")
            assert (caught.value.error, caught.value.permanent) == ("unauthorized", True)
        assert cloud.counts()["token_application_credential"] == 1
        assert f"entry robot of file {path}" in site.lamplighter("tokens", "test", "robot").err
        site.secret("clouds.yaml", clouds_yaml(cloud))
        assert project_of(client, "robot") == credentials.PROJECT_ID
