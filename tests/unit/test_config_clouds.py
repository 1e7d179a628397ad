"""Clouds defined by fedcloud's site files, by clouds.yaml, and by the environment's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producers.settings import ConfigError
from workers.config.groups import CloudSettings
from workers.config.logins import ApplicationCredentialSource, CloudsYamlSource, RefreshTokenSource
from workers.config.settings import load
from workers.tokens.credential import credential
from workers.tokens.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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


def cloud(folder: Path, table: str, environ: Mapping[str, str] | None = None) -> CloudSettings:
    """[clouds.a] of a file with these lines in it."""
    path = folder / "lamplighter.toml"
    path.write_text(f'cluster = "c"\n[broker]\nurl = "amqp://localhost"\n[clouds.a]\n{table}')
    return load(path, environ or {}).clouds["a"]


def refused(folder: Path, table: str, environ: Mapping[str, str] | None = None) -> str:
    """What is said of it."""
    with pytest.raises(ConfigError) as caught:
        cloud(folder, table, environ)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a site's file, and a clouds.yaml."""
    (tmp_path / "site.yaml").write_text(SITE)
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(CLOUDS)
    clouds.chmod(0o600)
    return tmp_path


# -- fedcloud


def test_a_sites_file_defines_a_cloud_unchanged(folder: Path) -> None:
    made = cloud(folder, f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{OIDC}')
    assert made.auth_url == "https://keystone.example.org:5000/v3/"
    assert (made.project_id, made.region) == ("99688cbc0ae54f8e9e22b0b5bd40ee6e", "north")
    assert isinstance(made.source, RefreshTokenSource)
    assert (made.source.identity_provider, made.source.protocol) == ("egi.eu", "oidc")


def test_what_lamplighters_own_file_says_comes_first(folder: Path) -> None:
    own = 'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\nregion = "south"\n'
    made = cloud(folder, f'{own}{OIDC}protocol = "openid"\n', {"OS_PROTOCOL": "saml"})
    assert made.region == "south"
    assert isinstance(made.source, RefreshTokenSource)
    assert made.source.protocol == "openid"


def test_a_folder_of_sites_and_the_environment_name_site_and_vo(folder: Path) -> None:
    table = f'fedcloud_site = "."\n{OIDC}'
    (folder / "clouds.yaml").unlink()
    (folder / "broken.txt").write_text("no: yaml: here")
    (folder / "another.yml").write_text("gocdb: ANOTHER\nendpoint: https://another\n")
    environ = {"FEDCLOUD_SITE": "TEST-SITE", "EGI_VO": "other.example.eu"}
    assert cloud(folder, table, environ).project_id == "1234567890"
    environ["FEDCLOUD_VO"] = "vo.example.eu"
    assert cloud(folder, table, environ).project_id == "99688cbc0ae54f8e9e22b0b5bd40ee6e"
    assert "there are ANOTHER, TEST-SITE" in refused(folder, table, {"FEDCLOUD_SITE": "NOWHERE"})
    assert "clouds.a.site: is missing" in refused(folder, table)


def test_a_project_of_the_environment_is_never_taken_for_a_sites(folder: Path) -> None:
    table = f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{OIDC}'
    environ = {"OS_PROJECT_ID": "elsewhere", "OS_AUTH_URL": "https://elsewhere/v3"}
    assert cloud(folder, table, environ) == cloud(folder, table)


def test_an_application_credential_needs_of_a_site_no_project(folder: Path) -> None:
    made = cloud(folder, f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{APPLICATION}')
    assert isinstance(made.source, ApplicationCredentialSource)
    assert made.project_id is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("vos: [", "site.yaml: is no valid YAML (line"),
        ("gocdb: A", "missing required field `endpoint`"),
        (SITE.replace('"1234567890"', "1234567890"), "project_id`; quote it"),
        (SITE.replace("name: vo.example.eu", "title: x"), "field `name` - at `$.vos["),
        (SITE.replace("vo.example.eu", "third"), "has no VO 'vo.example.eu'; it has third, other"),
        ("[1, 2]", "Expected `object`, got `array`"),
        ("", "Expected `object`, got `null`"),
    ],
)
def test_a_sites_file_that_does_not_do_is_told_by_name_and_field(
    folder: Path, wrong: str, said: str
) -> None:
    (folder / "site.yaml").write_text(wrong)
    message = refused(folder, f'fedcloud_site = "site.yaml"\nvo = "vo.example.eu"\n{OIDC}')
    assert str(folder / "site.yaml") in message
    assert said in message


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('fedcloud_site = "no.yaml"\nvo = "v"', "no.yaml: cannot be read: No such file"),
        ('fedcloud_site = "site.yaml"', 'clouds.a.vo: is missing: write vo = "..."'),
        ('fedcloud_site = 5\nvo = "v"', "clouds.a.fedcloud_site: must be a text"),
        ('fedcloud_site = "site.yaml"\nclouds_yaml = "c"', "either fedcloud_site or clouds_yaml"),
        ('vo = "v"', "unknown field `vo`"),
    ],
)
def test_a_table_that_does_not_do_is_told_by_field(folder: Path, table: str, said: str) -> None:
    assert said in refused(folder, f"{table}\n{OIDC}")


# -- the environment


def test_the_environment_fills_in_what_nobody_says(folder: Path) -> None:
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


def test_secrets_never_come_from_the_environment(folder: Path) -> None:
    environ = dict.fromkeys(
        ("OS_PASSWORD", "OS_TOKEN", "OS_ACCESS_TOKEN", "FEDCLOUD_OIDC_ACCESS_TOKEN"), "swordfish"
    )
    table = f'auth_url = "https://k/v3"\nproject_id = "p"\n{OIDC}'
    assert "swordfish" not in repr(cloud(folder, table, environ))


# -- clouds.yaml


def test_an_application_credential_of_clouds_yaml_stays_there(folder: Path) -> None:
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


def test_a_password_of_clouds_yaml_comes_with_its_project(folder: Path) -> None:
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\ncloud = "person"\nconcurrency = 3\n')
    assert (made.project_name, made.project_domain, made.concurrency) == ("nodes", "Site", 3)


def test_an_entry_is_found_by_the_clouds_own_name(folder: Path) -> None:
    clouds = folder / "clouds.yaml"
    clouds.write_text(CLOUDS.replace("robot:", "a:"))
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\n')
    assert made.auth_url == "https://keystone.example.org:5000/v3"


def test_secrets_may_be_kept_apart_in_secure_yaml_so_that_others_read_the_rest(
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
    ("content", "mode", "said"),
    [
        (CLOUDS, 0o640, "is open to others (mode 0640)"),
        (CLOUDS.replace("_secret:", "_other:"), 0o600, "holds no secret of robot"),
        ("a: [swordfish", 0o600, "is no valid YAML"),
        (CLOUDS.replace("_secret: swordfish", "_secret: 12"), 0o600, "_secret`; quote it"),
    ],
)
def test_a_secret_in_clouds_yaml_is_looked_at_closely(
    folder: Path, content: str, mode: int, said: str
) -> None:
    made = cloud(folder, 'clouds_yaml = "clouds.yaml"\ncloud = "robot"\n')
    (folder / "clouds.yaml").write_text(content)
    (folder / "clouds.yaml").chmod(mode)
    with pytest.raises(SourceError) as caught:
        credential(made.source).read()
    assert said in caught.value.message
    assert (caught.value.error, caught.value.permanent) == ("credential_unusable", True)
    assert str(folder / "clouds.yaml") in (caught.value.remedy or "")
    assert "swordfish" not in f"{caught.value!r}{caught.value.remedy}"


@pytest.mark.parametrize(
    ("change", "entry", "said"),
    [
        (("", ""), "nobody", "there is no 'nobody'; it has robot, person, token"),
        (("", ""), "token", "clouds.token.auth_type: 'v3oidcaccesstoken' cannot be taken"),
        (("application_credential_id", "x"), "robot", "application_credential_id: is missing"),
        (("auth_url", "x"), "robot", "clouds.robot.auth.auth_url: is missing"),
        (("username", "x"), "person", "clouds.person.auth.username: is missing"),
        (("user_domain_name", "x"), "person", "auth.user_domain_name: is missing"),
        (("project_name", "x"), "person", "clouds.person.auth.project_id: is missing"),
        (("project_domain_name", "project_domain_id"), "person", "auth.project_domain_id: say"),
        (("cacert: ca.pem", "verify: false"), "robot", "certificates are always verified"),
        (("interface: publicURL", "interface: odd"), "robot", "interface"),
        (("  robot:", "  robot: ["), "robot", "is no valid YAML (line"),
    ],
)
def test_an_entry_that_does_not_do_is_told_by_field(
    folder: Path, change: tuple[str, str], entry: str, said: str
) -> None:
    clouds = folder / "clouds.yaml"
    clouds.write_text(CLOUDS.replace(*change) if change[0] else CLOUDS)
    message = refused(folder, f'clouds_yaml = "clouds.yaml"\ncloud = "{entry}"\n')
    assert said in message
    assert "swordfish" not in message


def test_clouds_yaml_says_itself_how_to_log_in(folder: Path) -> None:
    message = refused(folder, f'clouds_yaml = "clouds.yaml"\ncloud = "robot"\n{OIDC}')
    assert "leave one of them out" in message
