"""Tests of clouds defined by fedcloud's site files, by clouds.yaml and by environment variables."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openstack.config import OpenStackConfig, vendors

from producers.settings import ConfigError
from workers.config.clouds_entry import EntryRef
from workers.config.clouds_yaml import entry_defaults, entry_identity, entry_secret
from workers.config.fedcloud import versioned
from workers.config.groups import CloudSettings
from workers.config.logins import ApplicationCredentialSource, CloudsYamlSource, RefreshTokenSource
from workers.config.settings import load
from workers.tokens.credential import credential
from workers.tokens.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# openstacksdk uses a part of itself that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")
SITE = """\
---
gocdb: TEST-SITE
endpoint: https://keystone.example.org:5000/v3/
region: north
protocol: oidc
images:
  sync: true
vos:
  - name: vo.example.eu
    auth:
      project_id: 99688cbc0ae54f8e9e22b0b5bd40ee6e
  - name: other.example.eu
    auth: {project_id: "1234567890"}
"""
OIDC = """
[clouds.a.source]
type = "oidc_refresh_token"
refresh_token_file = "token"
token_endpoint = "https://login.example.org/token"
"""
APPLICATION = """
[clouds.a.source]
type = "application_credential"
id = "i"
secret_file = "secret"
"""
CLOUDS = """\
clouds:
  robot:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://keystone.example.org:5000
      application_credential_id: the-id
      application_credential_secret: swordfish
    region_name: north
    interface: publicURL
    identity_api_version: 3
    cacert: ca.pem
  person:
    auth:
      auth_url: https://keystone.example.org/v3
      username: keeper
      password: swordfish
      project_name: nodes
      user_domain_name: Default
      project_domain_name: Site
  token:
    auth_type: v3oidcaccesstoken
    auth: {auth_url: https://keystone.example.org/v3}
"""


# Each line repeats the one before eight times: 8**8 nodes.
BOMB = "".join(
    f"{chr(n)}: &{chr(n)} [{', '.join([f'*{chr(n - 1)}'] * 8)}]\n"
    for n in range(ord("c"), ord("i"))
)
# As EGI's site without a federated login.
CREDENTIAL_SITE = """\
gocdb: CREDENTIAL-SITE
endpoint: https://keystone.example.org:5000/v3
auth: v3applicationcredential
vos:
  - name: vo.example.eu
    auth: {region: "W-1"}
  - name: broken
    auth: [5]
  - 7
"""


def cloud(folder: Path, table: str, environ: Mapping[str, str] | None = None) -> CloudSettings:
    """Load a file whose table [clouds.a] has these lines."""
    path = folder / "lamplighter.toml"
    path.write_text(f'cluster = "c"\n[broker]\nurl = "amqp://localhost"\n[clouds.a]\n{table}')
    return load(path, environ or {}).clouds["a"]


def refused(folder: Path, table: str, environ: Mapping[str, str] | None = None) -> str:
    """Load such a file and return the error."""
    with pytest.raises(ConfigError) as caught:
        cloud(folder, table, environ)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a site file and a clouds.yaml."""
    (tmp_path / "site.yaml").write_text(SITE)
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(CLOUDS)
    clouds.chmod(0o600)
    return tmp_path


# -- fedcloud


def test_site_file_defines_a_cloud(folder: Path) -> None:
    made = cloud(folder, f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{OIDC}')
    assert made.auth_url == "https://keystone.example.org:5000/v3/"
    assert (made.project_id, made.region) == ("99688cbc0ae54f8e9e22b0b5bd40ee6e", "north")
    assert isinstance(made.source, RefreshTokenSource)
    assert (made.source.identity_provider, made.source.protocol) == ("egi.eu", "oidc")


def test_lamplighter_toml_takes_precedence_over_the_site_file(folder: Path) -> None:
    own = 'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\nregion = "south"\n'
    made = cloud(folder, f'{own}{OIDC}protocol = "openid"\n', {"OS_PROTOCOL": "saml"})
    assert made.region == "south"
    assert isinstance(made.source, RefreshTokenSource)
    assert made.source.protocol == "openid"


def test_environment_selects_site_and_vo_in_a_folder_of_site_files(folder: Path) -> None:
    table = f'fedcloud_site = "."\n{OIDC}'
    (folder / "clouds.yaml").unlink()
    (folder / "broken.txt").write_text("no: yaml: here")
    (folder / "another.yml").write_text("gocdb: ANOTHER\nendpoint: https://another\n")
    environ = {"FEDCLOUD_SITE": "TEST-SITE", "EGI_VO": "other.example.eu"}
    assert cloud(folder, table, environ).project_id == "1234567890"
    environ["FEDCLOUD_VO"] = "vo.example.eu"
    assert cloud(folder, table, environ).project_id == "99688cbc0ae54f8e9e22b0b5bd40ee6e"
    assert "it has ANOTHER, TEST-SITE" in refused(folder, table, {"FEDCLOUD_SITE": "NOWHERE"})
    assert "clouds.a.site: is missing" in refused(folder, table)


def test_project_of_the_environment_is_not_used_for_a_site_file(folder: Path) -> None:
    table = f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{OIDC}'
    environ = {"OS_PROJECT_ID": "elsewhere", "OS_AUTH_URL": "https://elsewhere/v3"}
    assert cloud(folder, table, environ) == cloud(folder, table)


def test_application_credential_takes_no_project_from_a_site_file(folder: Path) -> None:
    made = cloud(folder, f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{APPLICATION}')
    assert isinstance(made.source, ApplicationCredentialSource)
    assert made.project_id is None


def test_a_site_without_federated_login_is_read_for_an_application_credential(
    folder: Path,
) -> None:
    (folder / "site.yaml").write_text(CREDENTIAL_SITE)
    table = 'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n'
    made = cloud(folder, table + APPLICATION)
    assert made.auth_url == "https://keystone.example.org:5000/v3"
    assert (made.project_id, made.region) == (None, "W-1")


def test_a_site_without_federated_login_is_refused_by_name_for_another_one(folder: Path) -> None:
    (folder / "site.yaml").write_text(CREDENTIAL_SITE)
    for vo in ("vo.example.eu", "broken"):
        message = refused(folder, f'fedcloud_site = "site.yaml"\nvo = "{vo}"\n{OIDC}')
        assert "site.yaml" in message
        assert (vo if vo == "broken" else "CREDENTIAL-SITE") in message
    assert "clouds.a.source: CREDENTIAL-SITE takes application credentials only" in refused(
        folder, f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{OIDC}'
    )


def test_the_region_of_a_vo_counts_more_than_its_sites(folder: Path) -> None:
    (folder / "site.yaml").write_text(SITE + "  - {name: own, auth: {project_id: p, region: r}}\n")
    made = cloud(folder, f'fedcloud_site = "site.yaml"\nvo = "own"\n{OIDC}')
    assert (made.project_id, made.region) == ("p", "r")


def test_one_odd_vo_or_file_spoils_no_other(folder: Path) -> None:
    (folder / "clouds.yaml").unlink()
    (folder / "a-broken.yaml").write_text("vos: [")
    (folder / "b-odd.yaml").write_text("endpoint: https://no-name\n")
    odd = "  - 7\n  - {title: x}\n  - {name: v, auth: 5}\n  - {name: w, auth: {project_id: 12}}\n"
    (folder / "site.yaml").write_text(SITE + odd)
    table = f'fedcloud_site = "."\nsite = "TEST-SITE"\nvo = "vo.example.eu"\n{OIDC}'
    assert cloud(folder, table).project_id == "99688cbc0ae54f8e9e22b0b5bd40ee6e"
    assert "VO 'w': Expected `str | null`" in refused(folder, table.replace("vo.example.eu", "w"))
    message = refused(folder, table.replace("TEST-SITE", "NOWHERE"))
    assert "it has TEST-SITE" in message
    assert "a-broken.yaml: is not valid YAML" in message


def test_a_site_with_two_keystones_has_a_file_for_each(folder: Path) -> None:
    (folder / "clouds.yaml").unlink()
    other = SITE.replace("keystone.", "second.").replace("name: vo.", "name: second.")
    (folder / "site-2.yaml").write_text(other)
    table = f'fedcloud_site = "."\nsite = "TEST-SITE"\nvo = "vo.example.eu"\n{OIDC}'
    assert "keystone." in cloud(folder, table).auth_url
    assert "second." in cloud(folder, table.replace("vo.example", "second.example")).auth_url
    message = refused(folder, table.replace("vo.example", "other.example"))
    assert "site-2.yaml, site.yaml describe VO 'other.example.eu'" in message
    (folder / "site-2.yaml").unlink()
    (folder / "site.yaml").write_text(SITE.replace("other.example", "vo.example"))
    assert "has VO 'vo.example.eu' twice" in refused(folder, table)


def test_a_pipe_in_place_of_a_site_file_blocks_nothing(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    table = f'fedcloud_site = "pipe.yaml"\nvo = "v"\n{OIDC}'
    assert "pipe.yaml is not a file" in refused(folder, table)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        ("vos: [", "site.yaml: is not valid YAML (line"),
        ("gocdb: A", "missing required field `endpoint`"),
        (SITE.replace("99688cbc0ae54f8e9e22b0b5bd40ee6e", "12"), "project_id`; quote it"),
        (SITE.replace("name: vo.example.eu", "title: x"), "it has other.example.eu"),
        (SITE.replace("project_id: 99", "project: 99"), "VO 'vo.example.eu'; write it there"),
        (SITE.replace("project_id: 99", "- 99"), "VO 'vo.example.eu': Expected `object`"),
        ("a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n" + BOMB, "is not valid YAML"),
        ("- &a [*a]", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        (
            SITE.replace("99688cbc0ae54f8e9e22b0b5bd40ee6e", "''"),
            "project_id`; it is empty, or has a space",
        ),
        (
            SITE.replace("99688cbc0ae54f8e9e22b0b5bd40ee6e", "' '"),
            "project_id`; it is empty, or has a space",
        ),
        ("# " + "x" * 2**18, "is larger than 262144 bytes"),
        (SITE.replace("vo.example.eu", "third"), "has no VO 'vo.example.eu'; it has third, other"),
        ("[1, 2]", "Expected `object`, got `array`"),
        ("", "Expected `object`, got `null`"),
    ],
)
def test_invalid_site_file_is_reported_by_name_and_field(
    folder: Path, content: str, fragment: str
) -> None:
    (folder / "site.yaml").write_text(content)
    message = refused(folder, f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{OIDC}')
    assert str(folder / "site.yaml") in message
    assert fragment in message


@pytest.mark.parametrize(
    ("table", "fragment"),
    [
        ('fedcloud_site = "no.yaml"\nvo = "v"', "no.yaml: cannot be read: No such file"),
        ('fedcloud_site = "no.yaml"\nvo = "v"', "correct clouds_yaml or fedcloud_site in lampl"),
        ('fedcloud_site = "site.yaml"', 'clouds.a.vo: is missing: write vo = "..."'),
        ('fedcloud_site = 5\nvo = "v"', "clouds.a.fedcloud_site: must be a string"),
        ('fedcloud_site = "site.yaml"\nclouds_yaml = "c"', "either fedcloud_site or clouds_yaml"),
        ('vo = "v"', "clouds.a.vo: belongs to fedcloud_site"),
    ],
)
def test_invalid_table_is_reported_by_field(folder: Path, table: str, fragment: str) -> None:
    assert fragment in refused(folder, f"{table}\n{OIDC}")


# -- the environment


def test_environment_fills_in_missing_fields(folder: Path) -> None:
    environ = {
        "OS_AUTH_URL": "https://k.example.org:5000/",
        "OS_PROJECT_ID": "p",
        "OS_IDENTITY_PROVIDER": "other.eu",
        "OS_PROTOCOL": "oidc",
    }
    made = cloud(folder, OIDC, environ)
    assert (made.auth_url, made.project_id) == ("https://k.example.org:5000/v3", "p")
    assert isinstance(made.source, RefreshTokenSource)
    assert (made.source.identity_provider, made.source.protocol) == ("other.eu", "oidc")
    named = cloud(folder, f'project_name = "n"\n{OIDC}', environ)
    assert (named.project_id, named.project_name) == (None, "n")
    assert cloud(folder, APPLICATION, environ).project_id is None


def test_secrets_are_not_taken_from_the_environment(folder: Path) -> None:
    environ = dict.fromkeys(
        ("OS_PASSWORD", "OS_TOKEN", "OS_ACCESS_TOKEN", "FEDCLOUD_OIDC_ACCESS_TOKEN"), "swordfish"
    )
    table = f'auth_url = "https://k/v3"\nproject_id = "p"\n{OIDC}'
    assert "swordfish" not in repr(cloud(folder, table, environ))


@pytest.mark.parametrize(
    "url",
    [
        "file:///v3",
        "ftp://k/v3",
        "//k/v3",
        "https://k/v2.0",
        "https://k/a b/v3",
        "https://k/v3\\n",
        "/v3",
    ],
)
def test_the_address_of_keystone_is_one_of_http(folder: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="auth_url must be Keystone's address: https"):
        cloud(folder, f'auth_url = "{url}"\nproject_id = "p"\n{OIDC}')


# -- clouds.yaml


def test_secret_of_clouds_yaml_stays_in_the_file(folder: Path) -> None:
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\ncloud = "robot"\n')
    assert made == CloudSettings(
        auth_url="https://keystone.example.org:5000/v3",
        region="north",
        ca_file=folder / "ca.pem",
        source=CloudsYamlSource(
            file=folder / "clouds.yaml", entry="robot", kind="application_credential"
        ),
    )
    assert "swordfish" not in repr(made)
    assert credential(made.source).read() == "swordfish"


def test_password_entry_gives_its_project(folder: Path) -> None:
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\ncloud = "person"\nconcurrency = 3\n')
    assert (made.project_name, made.project_domain, made.concurrency) == ("nodes", "Site", 3)


def test_entry_defaults_to_the_name_of_the_cloud(folder: Path) -> None:
    clouds = folder / "clouds.yaml"
    clouds.write_text(CLOUDS.replace("robot:", "a:"))
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\n')
    assert made.auth_url == "https://keystone.example.org:5000/v3"


def test_secret_in_secure_yaml_lets_other_users_read_clouds_yaml(
    folder: Path,
) -> None:
    clouds, secure = folder / "clouds.yaml", folder / "secure.yaml"
    clouds.write_text(CLOUDS.replace("      application_credential_secret: swordfish\n", ""))
    clouds.chmod(0o644)
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\ncloud = "robot"\n')
    secret = credential(made.source)
    with pytest.raises(SourceError, match="mode 0644"):
        secret.read()
    before = secret.fingerprint()
    secure.write_text(
        "clouds: {other: 5, robot: {auth: {application_credential_secret: apart, password: other}}}"
    )
    secure.chmod(0o600)
    assert secret.read() == "apart"
    assert secret.fingerprint() != before
    assert "secure.yaml" in secret.place


@pytest.mark.parametrize(
    ("content", "mode", "fragment"),
    [
        (CLOUDS, 0o640, "is open to other users (mode 0640)"),
        (CLOUDS.replace("_secret:", "_other:"), 0o600, "holds no secret of robot"),
        ("a: [swordfish", 0o600, "is not valid YAML"),
        (CLOUDS.replace("_secret: swordfish", "_secret: 12"), 0o600, "_secret`; quote it"),
        ("clouds:", 0o600, "got `null` - at `$.clouds`; it is empty: write what belongs there"),
    ],
)
def test_unusable_secret_in_clouds_yaml_is_refused_without_quoting_it(
    folder: Path, content: str, mode: int, fragment: str
) -> None:
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\ncloud = "robot"\n')
    (folder / "clouds.yaml").write_text(content)
    (folder / "clouds.yaml").chmod(mode)
    with pytest.raises(SourceError) as caught:
        credential(made.source).read()
    assert fragment in caught.value.message
    assert (caught.value.error, caught.value.permanent) == ("credential_unusable", True)
    assert str(folder / "clouds.yaml") in (caught.value.remedy or "")
    assert "swordfish" not in f"{caught.value!r}{caught.value.remedy}"


def test_secret_may_be_in_either_file_if_that_file_is_private(folder: Path) -> None:
    clouds, secure = folder / "clouds.yaml", folder / "secure.yaml"
    secure.write_text("clouds: {other: {auth: {password: x}}}")
    secure.chmod(0o600)
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\ncloud = "robot"\n')
    assert credential(made.source).read() == "swordfish"
    clouds.chmod(0o644)
    with pytest.raises(SourceError, match=r"clouds\.yaml is open to other users"):
        credential(made.source).read()


def test_secure_yaml_may_hold_the_user_too(folder: Path) -> None:
    clouds, secure = folder / "clouds.yaml", folder / "secure.yaml"
    clouds.write_text(CLOUDS.replace("      username: keeper\n", ""))
    assert "auth.username: is missing" in refused(
        folder, 'clouds_yaml = "clouds.yaml"\ncloud = "person"\n'
    )
    secure.write_text("clouds: {person: {auth: {username: another}}}")
    cloud(folder, 'clouds_yaml = "clouds.yaml"\ncloud = "person"\n')
    identity = entry_identity(EntryRef(clouds, "person"), "s")
    assert identity["password"]["user"]["name"] == "another"


# -- each key of clouds.yaml, as openstackclient reads it

AUTH = {
    "auth_url": "https://keystone.example.org/v3",
    "username": "keeper",
    "user_domain_name": "Default",
    "password": "swordfish",
    "project_id": "p",
}


def entry(folder: Path, region: str | None = None, **keys: object) -> CloudSettings:
    """Load a cloud whose entry has these keys, besides `auth`."""
    clouds = folder / "clouds.yaml"
    clouds.write_text(yaml.safe_dump({"clouds": {"a": {"auth": AUTH, **keys}}}))
    table = 'clouds_yaml = "clouds.yaml"\n'
    return cloud(folder, table if region is None else f'{table}region = "{region}"\n')


def entry_error(folder: Path, region: str | None = None, **keys: object) -> str:
    """Load such a cloud and return the error, which must quote no secret."""
    with pytest.raises(ConfigError) as caught:
        entry(folder, region, **keys)
    assert "swordfish" not in str(caught.value)
    return str(caught.value)


def outcome(read: Callable[[], str]) -> str:
    """The result, or the text of the ConfigError."""
    try:
        return read()
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("regions", [["north"], [{"name": "north"}]])
def test_single_region_of_a_list_is_used(folder: Path, regions: object) -> None:
    assert entry(folder, regions=regions).region == "north"


def test_region_of_a_list_is_chosen_in_lamplighter_toml_with_its_values(folder: Path) -> None:
    south = {"auth": {"auth_url": "https://south/v3"}, "interface": "internal"}
    regions = ["north", {"name": "south", "values": south}]
    assert entry(folder, "north", regions=regions).auth_url == AUTH["auth_url"]
    made = entry(folder, "south", regions=regions)
    assert (made.auth_url, made.region, made.interface) == ("https://south/v3", "south", "internal")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("regions", ["north", "south"]),
        ("region_name", "north,south"),
        ("region_name", ["north", "s"]),
    ],
)
def test_several_regions_need_a_choice(folder: Path, key: str, value: str | list[str]) -> None:
    keys: dict[str, Any] = {key: value}
    error = entry_error(folder, **keys)
    assert f"clouds.a.{key}: has several regions ('north', '" in error
    assert entry(folder, "north", **keys).region == "north"
    assert f"clouds.a.{key}: has no region 'east'" in entry_error(folder, "east", **keys)


def test_lamplighter_toml_overrides_a_single_region_name(folder: Path) -> None:
    assert entry(folder, "south", region_name="north").region == "south"


@pytest.mark.parametrize("key", ["interface", "endpoint_type"])
@pytest.mark.parametrize("value", ["internal", "internalURL"])
def test_interface_has_two_keys_and_two_spellings(folder: Path, key: str, value: str) -> None:
    assert entry(folder, **{key: value}).interface == "internal"


@pytest.mark.parametrize("keys", [{"insecure": True}, {"insecure": "true"}, {"verify": False}])
def test_verification_is_never_turned_off(folder: Path, keys: dict[str, Any]) -> None:
    [key] = keys
    error = entry_error(folder, **keys)
    assert f"clouds.a.{key}: certificates are always verified" in error
    assert entry(folder, insecure=False, verify=True).ca_file is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(["verify", "cacert"], ["False", "true", "no", "0", "1"]),
        *itertools.product(["insecure"], ["yes", "On", "1"]),
    ],
)
def test_true_and_false_in_quotes_are_neither_a_file_nor_ignored(
    folder: Path, key: str, value: str
) -> None:
    error = entry_error(folder, **{key: value})
    assert f"clouds.a.{key}: {value!r} is text; " in error


def test_authority_is_cacert_or_the_path_in_verify(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(entry(folder, cacert="~/ca.pem").ca_file) == "/home/someone/ca.pem"
    assert str(entry(folder, verify="/etc/ca.pem").ca_file) == "/etc/ca.pem"
    assert entry(folder, cacert="ca.pem", verify="/etc/ca.pem").ca_file == folder / "ca.pem"


@pytest.mark.parametrize("key", ["profile", "cloud"])
def test_vendor_profile_fills_in_missing_keys(folder: Path, key: str) -> None:
    auth = {name: value for name, value in AUTH.items() if name != "auth_url"}
    error = entry_error(folder, auth=auth, **{key: "switchcloud"})
    assert "clouds.a.profile: has several regions ('zhw', 'zhc')" in error
    made = entry(folder, "zhc", auth=auth, **{key: "switchcloud"})
    assert (made.auth_url, made.region) == ("https://identity.compute.cloud.switch.ch/v3", "zhc")
    assert entry(folder, auth=auth, region_name="zhw", profile="switchcloud").region == "zhw"


@pytest.mark.parametrize("name", ["vexxhost", "https://example.org", "unknown"])
def test_vendor_profile_is_not_fetched_from_the_network(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("requests.get", None)
    assert "clouds.a.profile: openstacksdk has no complete profile" in entry_error(
        folder, profile=name
    )


@pytest.mark.parametrize("name", sorted(vendors.profiles()))
def test_each_vendor_profile_gives_a_cloud_or_an_error(folder: Path, name: str) -> None:
    result = outcome(lambda: entry(folder, profile=name).auth_url)
    assert result == AUTH["auth_url"] or "clouds.a" in result


@pytest.mark.parametrize(
    ("keys", "fragment"),
    [
        ({"cert": "client.pem"}, "clouds.a.cert: is not supported"),
        ({"auth": {**AUTH, "trust_id": "t"}}, "clouds.a.trust_id: is not supported"),
        ({"auth_type": "v3token"}, "clouds.a.auth_type: 'v3token' is not supported"),
        ({"interface": "odd"}, "clouds.a.interface: must be public, internal or admin"),
        ({"interface": ["public"]}, "got `array` - at `$.interface`"),
        ({"region_name": 5}, "got `int` - at `$.region_name`; quote it"),
        ({"insecure": 1}, "got `int` - at `$.insecure`"),
        ({"auth": {**AUTH, "password": 12}}, "at `$.auth.password`; quote it"),
        ({"auth": {**AUTH, "project_id": 12}}, "at `$.auth.project_id`; quote it"),
        ({"auth": {**AUTH, "password": date(2026, 1, 1)}}, "at `$.auth.password`; quote it"),
        ({"auth": {**AUTH, "user_domain_name": False}}, "`$.auth.user_domain_name`; quote it"),
        ({"auth": {**AUTH, "user_domain_id": 12}}, "`$.auth.user_domain_id`; quote it"),
        ({"auth": {**AUTH, "project_domain_name": {}}}, "got `object` - at `$.auth.project_domain"),
        ({"cacert": "\ud800"}, "is not valid YAML (line "),
        (
            {"auth": {"auth_url": "https://k", "application_credential_id": "i"}},
            "auth.username: is missing; for an application credential, write auth_type",
        ),
        ({"regions": [{"values": {}}]}, "missing required field `name` - at `$.regions[0]`"),
        ({"regions": [{"name": "r", "values": {"interface": []}}]}, "at `$.interface`"),
        ({"region_name": "{auth[nothing]}"}, "clouds.a: openstacksdk does not accept this entry"),
    ],
)
def test_unsupported_key_is_reported_by_name(
    folder: Path, keys: dict[str, Any], fragment: str
) -> None:
    assert fragment in entry_error(folder, **keys)


@pytest.mark.parametrize("field", ["auth_url", "region_name", "cacert", "interface"])
@pytest.mark.parametrize("inserted", ["{auth[password]}", "{password}"])
def test_secret_inserted_into_another_field_is_not_repeated(
    folder: Path, field: str, inserted: str
) -> None:
    keys: dict[str, Any] = {"password": "swordfish", field: inserted}
    if field == "auth_url":
        keys = {"password": "swordfish", "auth": {**AUTH, field: f"https://{inserted}/v3"}}
    assert "swordfish" not in outcome(lambda: repr(entry(folder, **keys)))


def test_openstacksdk_is_imported_only_for_clouds_yaml() -> None:
    """It takes a third of a second."""
    modules = "workers.config.settings, workers.tokens.sources"
    code = f"import sys, {modules}; sys.exit('openstack' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def oracle(path: Path, name: str) -> Any:  # noqa: ANN401 - a CloudRegion
    """The entry as openstackclient's own library reads it from the files."""
    secure = str(path.with_name("secure.yaml"))
    config = OpenStackConfig(config_files=[str(path)], secure_files=[secure], load_envvars=False)
    kind = config.cloud_config["clouds"][name].get("auth_type", "password")
    return config.get_one(name, auth_type="v3password" if kind == "password" else kind)


LOGINS: list[dict[str, Any]] = [
    {"auth": AUTH},
    {"auth": {"auth_url": "https://k/v3", "project_name": "n", "domain_name": "D", "password": "s"},
     "username": "outside"},
    {"auth": {"auth_url": "https://k", "user-id": "u", "tenant_id": "t", "password": "s"}},
    {"auth": {**AUTH, "user_domain_id": "d"}, "auth_type": "v3password"},
    {"auth": {"auth_url": "https://k/v3", "application_credential_id": "i",
              "application_credential_secret": "s"}, "auth_type": "v3applicationcredential"},
    {"auth": {"auth_url": "https://k/v3", "application_credential_name": "i", "username": "u",
              "user_domain_id": "d", "application_credential_secret": "s"},
     "auth_type": "v3applicationcredential"},
]  # fmt: skip
OTHERS: list[dict[str, Any]] = [
    {},
    {"region_name": "north", "interface": "internal"},
    {"regions": [{"name": "south", "values": {"interface": "admin"}}], "region_name": "north"},
    {"endpoint_type": "adminURL", "interface": "public", "verify": True, "insecure": False},
    {"cacert": "~/ca.pem", "profile": "elastx"},
    {"verify": "/etc/ca.pem", "networks": [{"name": "n"}], "identity_api_version": 3},
]


@pytest.mark.parametrize(("login", "others"), [*itertools.product(LOGINS, OTHERS)])
def test_entry_means_what_it_means_to_openstackclient(
    tmp_path: Path, login: dict[str, Any], others: dict[str, Any]
) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_text(yaml.safe_dump({"clouds": {"one": {**login, **others}}}))
    (tmp_path / "secure.yaml").write_text("clouds: {one: {region_name: north}}")
    expected, reference = oracle(path, "one"), EntryRef(path, "one")
    kind, fields = entry_defaults(reference)
    assert fields.get("region") == (expected.region_name or None)
    assert fields.get("interface") == expected.get_interface().removesuffix("URL")
    verify, _ = expected.get_requests_verify_args()
    assert fields.get("ca_file", True) == verify
    plugin = expected.get_auth()
    assert plugin.auth_url.removesuffix("/v3") == fields["auth_url"].removesuffix("/v3")
    if kind == "password":
        assert fields.get("project_id") == plugin.project_id
        assert fields.get("project_name") == plugin.project_name
    found = entry_secret(reference)
    assert found is not None
    method, data = plugin.auth_methods[0].get_auth_data(None, plugin, {}, {})
    assert entry_identity(reference, found[1]) == {"methods": [method], method: data}


KEYS = st.sampled_from(
    ["auth", "auth_type", "auth_url", "username", "password", "user_domain_name", "project_id",
     "region_name", "region-name", "regions", "name", "values", "interface", "endpoint_type",
     "verify", "insecure", "cacert", "cert", "profile", "cloud", "networks", "os_password"]
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats()
    | st.sampled_from(["https://k/v3", "a", "{a}", "{auth[password]}", "v3password", "~", "ovh"])
    | st.text(max_size=5)
)  # fmt: skip
INNER = SCALARS | st.dictionaries(KEYS, SCALARS | st.dictionaries(KEYS, SCALARS, max_size=3))
VALUES = INNER | st.lists(INNER, max_size=3)
FUZZ = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=40,
)


def assert_read_or_reported(path: Path) -> None:
    """Every function of the reader returns, or raises a ConfigError that names a file here."""
    reference = EntryRef(path, "a")
    for read in (
        lambda: repr(entry_defaults(reference)),
        lambda: repr(entry_identity(reference, "s")),
        lambda: "" if entry_secret(reference) is None else "(",
    ):
        result = outcome(read)
        assert "swordfish" not in result
        assert result[:1] in {"", "(", "{"} or str(path.parent) in result


@FUZZ
@example(changes={"auth_type": "{auth[password]}"}, auth={})  # openstacksdk fills it in
@given(changes=st.dictionaries(KEYS, VALUES, max_size=5), auth=st.dictionaries(KEYS, VALUES))
def test_any_entry_is_read_or_reported(
    tmp_path: Path, changes: dict[str, Any], auth: dict[str, Any]
) -> None:
    path = tmp_path / "clouds.yaml"
    content = {"auth": {**AUTH, **auth, "password": "swordfish"}, **changes}
    path.write_text(yaml.safe_dump({"clouds": {"a": content}}))
    assert_read_or_reported(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clouds.yaml", "secure.yaml"])
@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe\x00", b"clouds: 5", b"clouds: {a: swordfish}", b"clouds: {a: {5: 6}}",
        b"clouds: {a: {auth: {password: [swordfish}}}", b"[" * 1000, b"!!bool swordfish",
        b"!!timestamp swordfish", b"!!int ''", b"!!python/object:os.system [swordfish]", b"? [a]",
        b"clouds: &a {a: *a}", b"clouds: {a: &b {auth: *b}}", b"2001-99-99", b"a: 1\n---\nb: 2",
    ],
)  # fmt: skip
def test_any_bytes_are_read_or_reported(folder: Path, name: str, content: bytes) -> None:
    (folder / "clouds.yaml").write_text(CLOUDS.replace("robot:", "a:"))
    (folder / name).write_bytes(content)
    assert_read_or_reported(folder / "clouds.yaml")


@FUZZ
@given(content=st.binary(max_size=40))
def test_random_bytes_are_read_or_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_bytes(content)
    assert_read_or_reported(path)


@pytest.mark.parametrize(
    ("change", "entry", "fragment"),
    [
        (("", ""), "nobody", "has no 'nobody'; it has robot, person, token"),
        (("", ""), "token", "clouds.token.auth_type: 'v3oidcaccesstoken' is not supported"),
        (("application_credential_id", "x"), "robot", "application_credential_id: is missing"),
        (("auth_url", "x"), "robot", "clouds.robot.auth.auth_url: is missing"),
        (("username", "x"), "person", "clouds.person.auth.username: is missing"),
        (("user_domain_name", "x"), "person", "auth.user_domain_name: is missing"),
        (("project_name", "x"), "person", "clouds.person.auth.project_id: is missing"),
        (
            ("project_domain_name", "project_domain_id"),
            "person",
            "auth.project_domain_id: is not supported",
        ),
        (("cacert: ca.pem", "verify: false"), "robot", "certificates are always verified"),
        (("interface: publicURL", "interface: odd"), "robot", "interface"),
        (("  robot:", "  robot: ["), "robot", "is not valid YAML (line"),
    ],
)
def test_invalid_entry_is_reported_by_field_without_quoting_a_secret(
    folder: Path, change: tuple[str, str], entry: str, fragment: str
) -> None:
    clouds = folder / "clouds.yaml"
    clouds.write_text(CLOUDS.replace(*change) if change[0] else CLOUDS)
    message = refused(folder, f'clouds_yaml = "clouds.yaml"\ncloud = "{entry}"\n')
    assert fragment in message
    assert "swordfish" not in message


def test_clouds_yaml_and_source_exclude_each_other(folder: Path) -> None:
    message = refused(folder, f'clouds_yaml = "clouds.yaml"\ncloud = "robot"\n{OIDC}')
    assert "remove one of them" in message


# -- any content

YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "gocdb",
                    "endpoint",
                    "auth",
                    "vos",
                    "name",
                    "project_id",
                    "region",
                    "protocol",
                    "clouds",
                    "a",
                    "auth_url",
                    "auth_type",
                    "username",
                    "password",
                    "profile",
                    "regions",
                    "cacert",
                    "verify",
                    "interface",
                    "region_name",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    YAML.map(lambda value: yaml.safe_dump(value).encode()),
    # a good file with a part replaced
    st.tuples(st.sampled_from(SITE.split("\n")), st.text(max_size=20)).map(
        lambda change: SITE.replace(*change).encode("utf-8", "replace")
    ),
    st.tuples(st.sampled_from(CLOUDS.split("\n")), st.text(max_size=20)).map(
        lambda change: CLOUDS.replace(*change).encode("utf-8", "replace")
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(CONTENTS)
def test_any_site_file_is_a_cloud_or_a_named_error(folder: Path, content: bytes) -> None:
    (folder / "site.yaml").write_bytes(content)
    for source in (OIDC, APPLICATION):
        table = f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{source}'
        try:
            made = cloud(folder, table)
        except ConfigError as error:
            assert "site.yaml" in str(error) or "clouds.a" in str(error)  # noqa: PT017
        else:
            assert made.auth_url.rstrip("/").endswith("/v3")
            assert made.project_id is not None or source is APPLICATION


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(CONTENTS)
def test_any_clouds_yaml_is_a_cloud_or_a_named_error(folder: Path, content: bytes) -> None:
    (folder / "clouds.yaml").write_bytes(content)
    for name in ("robot", "person", "a"):
        try:
            made = cloud(folder, f'clouds_yaml = "clouds.yaml"\ncloud = "{name}"\n')
        except ConfigError as error:
            assert "clouds.yaml" in str(error) or "clouds.a" in str(error)  # noqa: PT017
            assert "swordfish" not in str(error)  # noqa: PT017
        else:
            assert made.auth_url.rstrip("/").endswith("/v3")


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        "b: &b [x, x]\n" + BOMB,
        "".join(f"m{n}: &m{n}\n  <<: [{', '.join([f'*m{n - 1}'] * 9)}]\n" for n in range(1, 12)),
        "a: &a\n  <<: *a\n",
        "&a [" * 900,
        "? " * 5000,
        "- " * 5000,
        "{" * 5000,
        "!!python/object/apply:os.system [x]",
        "a: !!timestamp 99999999999999-01-01",
        "x" * 200_000,
        "x: y\n" * 40_000,
        "[" + "a," * 100_000 + "]",
        "a: 0x" + "f" * 100_000,
        "a: " + "9" * 100_000,
        "a: 9" + ":5" * 50_000,
    ],
)
def test_no_yaml_takes_long_or_grows(folder: Path, content: str) -> None:
    (folder / "site.yaml").write_text(content)
    began = time.process_time()
    table = f'fedcloud_site = "site.yaml"\nvo = "v"\n{OIDC}'
    assert "site.yaml" in refused(folder, table)
    assert time.process_time() - began < 20.0


TOML = """\
cluster = "c"
[broker]
url = "amqp://localhost"
[clouds.a]
auth_url = "https://k/v3"
project_id = "p"
[clouds.a.source]
type = "password"
username = "u"
password_file = "f"
[groups.g]
nodes = "n[1-3]"
cloud = "a"
[power]
lease = 20.0
"""
LITERALS = st.one_of(
    st.sampled_from(
        [
            *("1", "-1", "nan", "inf", "1e999", "true", "[]", "{}", '""', "''", "9" * 5000),
            *('"n[1-999999999]"', '"n[1-"', '"\\u0000"', "[[1]]", "{a = {}}", '"a"', '"n[3-1]"'),
        ]
    ),
    st.text(max_size=20),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(st.sampled_from(TOML.strip().split("\n")), LITERALS).map(
            lambda change: TOML.replace(
                change[0], f"{change[0].partition('=')[0]}={change[1]}"
            ).encode("utf-8", "replace")
        ),
        st.tuples(st.sampled_from(TOML.strip().split("\n")), LITERALS).map(
            lambda change: TOML.replace(change[0], change[1]).encode("utf-8", "replace")
        ),
    )
)
def test_any_toml_is_a_configuration_or_a_named_error(folder: Path, content: bytes) -> None:
    path = folder / "lamplighter.toml"
    path.write_bytes(content)
    try:
        made = load(path, {})
    except ConfigError as error:
        assert str(path) in str(error)  # noqa: PT017 - one of two ends
    else:
        assert made.cluster


@pytest.mark.parametrize(
    "content", ["a = " + "[" * 100_000, "a" + ".a" * 3_000 + " = 1", "[" * 10_000]
)
def test_toml_of_any_depth_is_a_named_error(folder: Path, content: str) -> None:
    path = folder / "lamplighter.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="lamplighter"):
        load(path, {})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("https://k.example.org:5000", "https://k.example.org:5000/v3"),
        ("https://k.example.org:5000/", "https://k.example.org:5000/v3"),
        ("https://k.example.org:5000/v3", "https://k.example.org:5000/v3"),
        ("https://k.example.org/identity", "https://k.example.org/identity/v3"),
        ("https://k.example.org/v3/auth/tokens", "https://k.example.org/v3"),
        ("https://k.example.org/v3/auth/tokens/", "https://k.example.org/v3"),
    ],
)
def test_keystones_address_gets_its_version(given: str, wanted: str) -> None:
    assert versioned(given).rstrip("/") == wanted
