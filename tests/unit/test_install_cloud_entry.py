"""What `lamplighter init` takes over from clouds.yaml; what it cannot take over, it names."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from ops.install import cloud_entry
from ops.install import init as init_module
from ops.install.place import PlannedLink
from ops.install.plan import broker_steps, links, site_files
from producers.disk import user_name
from producers.settings import ConfigError
from tests.unit.test_install import folder, run, site

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

__all__ = ["folder"]

pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")

USER = (
    "auth_url: 'https://k.example.org/v3', username: me, password: very-secret, project_id: p"
    ", user_domain_name: Default"
)
YES = ("--yes", "--strategy=stop")


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let init want what a real run needs, and put nothing in place all the same."""
    put = init_module._put
    monkeypatch.setattr(init_module, "_put", lambda plan, **_: put(plan, dry_run=True, ask=False))
    monkeypatch.setattr(init_module, "_require_user", lambda _: None)


def init(
    folder: Path, auth: str, *words: str, more: str = "", text: str = "", dry_run: bool = True
) -> Result:
    """Init with one entry."""
    clouds = folder / "clouds.yaml"
    clouds.write_text(f"clouds:\n  site:\n    auth: {{{auth}}}\n{more}")
    return run(folder, *(words or YES), text=text, dry_run=dry_run)


def written(result: Result) -> dict[str, Any]:
    """The lamplighter.toml that it would write."""
    assert result.exit_code == 0, result.output + str(result.exception)
    (text,) = re.findall(r"^( {4}# Written by.*?)^\w", result.output, re.MULTILINE | re.DOTALL)[:1]
    return tomllib.loads("\n".join(line[4:] for line in text.splitlines()))


def test_a_clouds_yaml_that_this_user_may_not_look_at_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root in a home folder of another host, which squashes root."""
    closed, stat = folder / "clouds.yaml", os.stat

    def refusing(path: Any, *more: Any, **how: Any) -> os.stat_result:  # noqa: ANN401 - the system's
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *more, **how)

    monkeypatch.setattr(os, "stat", refusing)
    result = run(folder, *YES)
    assert f"there is no file {closed} that {user_name()} may look at" in str(result.exception)


def test_clouds_yaml_is_found_where_openstackclient_finds_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of $OS_CLIENT_CONFIG_FILE first: another one may be another cloud's."""
    names = ("named.yaml", "clouds.yml")
    places = [folder / name for name in names]
    monkeypatch.setattr("openstack.config.loader.CONFIG_FILES", [str(places[1])])
    words = [f"--slurm-conf={folder}/slurm.conf", *YES, "--dry-run"]
    for name, file in zip(names, places, strict=True):
        text = USER.replace("k.example.org", f"{name}.example.org")
        file.write_text(f"clouds:\n  site:\n    auth: {{{text}}}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(places[0]))
    for name, file in zip(names, places, strict=True):
        cloud = written(CliRunner().invoke(init_module.init, words))["clouds"]["site"]
        assert cloud["auth_url"] == f"https://{name}.example.org/v3"
        file.unlink()
    refused = CliRunner().invoke(init_module.init, words)
    assert str(folder) in str(refused.exception)
    assert "--clouds-yaml" in str(refused.exception)


# (in place of what, what the entry says, what must be named)
REFUSED = [
    ("user_domain_name: Default", "user_domain_id: '3f9c11'", "auth.user_domain_id"),
    ("username: me", "user_id: u", "auth.user_id"),
    ("project_id: p", "project_name: p, project_domain_id: '3f9c11'", "auth.project_domain_id"),
    ("password: very-secret, ", "", "auth.password"),
    ("password: very-secret, ", "password: 'very-secret ', ", "auth.password"),
]


@pytest.mark.usefixtures("asking")
@pytest.mark.parametrize(("key", "instead", "named"), REFUSED)
def test_a_key_that_is_not_taken_over_is_named(
    folder: Path, key: str, instead: str, named: str
) -> None:
    """Never written with another meaning."""
    refused = init(folder, USER.replace(key, instead), dry_run=False)
    assert isinstance(refused.exception, ConfigError), refused.output
    assert f"clouds.site.{named}: " in str(refused.exception)


def test_keys_without_a_meaning_here_are_listed(folder: Path) -> None:
    more = "    compute_endpoint_override: https://x\n    volume-api-version: 3\n    network: n\n"
    output = init(folder, f"{USER}, default_domain: d", more=more).output
    assert "ignores: compute_endpoint_override, network, auth.default_domain" in output
    assert "Lamplighter ignores" not in init(folder, USER).output


def test_the_first_domain_may_be_given_by_id(folder: Path) -> None:
    auth = USER.replace("user_domain_name: Default", "user_domain_id: default")
    assert written(init(folder, auth))["clouds"]["site"]["source"]["user_domain"] == "Default"


@pytest.mark.parametrize("place", ["beside clouds.yaml", "working folder", "home"])
def test_a_certificate_is_copied_where_the_token_service_can_read_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The token service cannot read homes, and its working folder is not the operator's."""
    (folder / "certs").mkdir()
    (folder / "certs/ca.pem").write_text("a certificate\n")
    monkeypatch.setenv("HOME", str(folder / "certs"))
    if place == "working folder":
        monkeypatch.chdir(folder)
    name = "~/ca.pem" if place == "home" else "certs/ca.pem"
    result = init(folder, USER, more=f"    cacert: {name}\n")
    assert written(result)["clouds"]["site"]["ca_file"] == "/etc/lamplighter/cloud-ca.pem"
    assert "write: /etc/lamplighter/cloud-ca.pem (644)\n    a certificate\n" in result.output


def test_a_certificate_of_the_system_stays_where_it_is(folder: Path) -> None:
    result = init(folder, USER, more="    cacert: /etc/ssl/certs/ca-certificates.crt\n")
    assert written(result)["clouds"]["site"]["ca_file"] == "/etc/ssl/certs/ca-certificates.crt"
    assert "cloud-ca.pem" not in result.output


def test_a_missing_certificate_is_named(folder: Path) -> None:
    refused = init(folder, USER, more="    cacert: certs/none.pem\n")
    assert "clouds.site.cacert: certs/none.pem: No such file" in str(refused.exception)


def test_a_certificate_with_its_private_key_is_refused_and_not_shown(folder: Path) -> None:
    """The copy is for all workers, and a dry run prints it."""
    (folder / "both.pem").write_text("-----BEGIN RSA PRIVATE KEY-----\nodd1\n")
    refused = init(folder, USER, more="    cacert: both.pem\n")
    assert "both.pem holds a private key; name a file of certificates alone" in str(
        refused.exception
    )
    assert "odd1" not in f"{refused.exception}{refused.output}"


@pytest.mark.usefixtures("asking")
def test_a_missing_secret_is_asked_for_and_not_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is in place, it is not asked for again."""
    auth = USER.replace("password: very-secret, ", "")
    result = init(folder, auth, "--strategy=stop", text="Typ3d-in\n", dry_run=False)
    assert result.exit_code == 0, result.exception
    assert "password of " in result.output
    assert "Typ3d-in" not in result.output
    assert "write: /etc/lamplighter/cloud.secret (600)" in result.output
    monkeypatch.setattr(cloud_entry, "CLOUD_SECRET", folder / "clouds.yaml")
    assert init(folder, auth, dry_run=False).exit_code == 0


def test_one_of_several_regions_is_an_option_or_asked_for(folder: Path) -> None:
    more = "    regions: [RegionOne, RegionTwo]\n"
    refused = init(folder, USER, more=more)
    assert "--region: is needed with --yes" in str(refused.exception)
    assert "RegionOne, RegionTwo" in str(refused.exception)
    chosen = init(folder, USER, *YES, "--region=RegionTwo", more=more)
    assert written(chosen)["clouds"]["site"]["region"] == "RegionTwo"
    typed = init(folder, USER, "--strategy=stop", more=more, text="RegionOne\n")
    assert written(typed)["clouds"]["site"]["region"] == "RegionOne"
    unknown = init(folder, USER, *YES, "--region=None", more=more)
    assert "has no region" in str(unknown.exception)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("[broker]\n# broker.users comes later\n", 0),
        ('note = "broker.users"', 0),
        ("[broker]\nusers = {}", 2),
        ("[broker.users]\n", 2),
        ("broker = {'users' = {}}", 2),
    ],
)
def test_a_broker_with_one_user_for_all_roles_stays_as_it_is(
    folder: Path, text: str, steps: int
) -> None:
    """lamplighter.toml is read as TOML, not searched."""
    path = folder / "lamplighter.toml"
    path.write_text(text)
    files = [
        type(file)(path, file.content) if file.path.name == path.name else file
        for file in site_files(site(folder), "")
    ]
    assert len(list(broker_steps(files))) == steps
    path.write_text("[broker")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        list(broker_steps(files))


def test_an_installation_elsewhere_is_linked_where_shells_look(run_dir: Path) -> None:
    prefix, local = run_dir / "opt", run_dir / "local"
    for name in ("bin/lamplighter", "share/man/man1/lamplighter.1"):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text("#!/bin/sh\necho here\n")
    planned = list(links(prefix, local))
    assert [one.put() for one in planned] == [True, True]
    assert [one.put() for one in links(prefix, local)] == [False, False]
    assert (local / "bin/lamplighter").read_text().endswith("echo here\n")
    assert list(links(local, local)) == []


def test_a_program_in_the_place_of_a_link_stays(run_dir: Path) -> None:
    path = run_dir / "lamplighter"
    path.write_text("another")
    link = PlannedLink(path, run_dir / "target")
    assert not link.put()
    assert path.read_text() == "another"
    assert list(link.differences()) == [f"it would be a link to {run_dir}/target"]


SITE = """\
gocdb: IN2P3-IRES
endpoint: https://sbgcloud.in2p3.fr:5000/v3
region: RegionOne
protocol: openid
vos:
  - name: vo.example.eu
    auth: {project_id: abc123}
"""


def test_a_folder_of_site_files_is_refused_with_what_to_name_instead(folder: Path) -> None:
    """lamplighter.toml may name one, with `site` beside it; init has no option for that."""
    refused = init(folder, USER, f"--fedcloud-site={folder}", "--vo=vo.example.eu")
    assert f"--fedcloud-site: {folder} is a folder; name the file of" in str(refused.exception)


# (in the site's file, which is missing without it; what is there instead; the remedy, without a lamplighter.toml)
UNUSABLE_SITES = [
    (
        "region: RegionOne",
        "auth: v3applicationcredential",
        "for init, make one there, and name a clouds.yaml",
    ),
    (
        "project_id: abc123",
        "region: r",
        "IN2P3-IRES.yaml has none for VO 'vo.example.eu'; write it there",
    ),
    ("", "", "or the option of init"),
]


@pytest.mark.parametrize(("key", "instead", "remedy"), UNUSABLE_SITES)
def test_a_site_that_cannot_be_taken_over_is_named_with_what_init_needs(
    folder: Path, key: str, instead: str, remedy: str
) -> None:
    file = folder / "IN2P3-IRES.yaml"
    if key:
        file.write_text(SITE.replace(key, instead))
    result = run(folder, f"--fedcloud-site={file}", "--vo=vo.example.eu", *YES)
    assert isinstance(result.exception, ConfigError)
    assert remedy in str(result.exception)


def test_a_federated_login_in_clouds_yaml_is_refused_with_the_option_for_it(folder: Path) -> None:
    entry = "auth_type: v3oidcaccesstoken\n    identity_provider: egi.eu\n    protocol: openid"
    text = f"clouds:\n  site:\n    {entry}\n    auth: {{auth_url: 'https://k.example.org/v3'}}\n"
    (folder / "clouds.yaml").write_text(text)
    refused = str(run(folder, *YES).exception)
    assert "site.auth_type: 'v3oidcaccesstoken' is not supported" in refused
    assert "--fedcloud-site" in refused


@pytest.mark.usefixtures("asking")
def test_a_site_of_egi_is_taken_over_with_a_refresh_token(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "IN2P3-IRES.yaml"
    file.write_text(SITE)
    words = (f"--fedcloud-site={file}", "--strategy=stop")
    result = run(folder, *words, "--vo=vo.example.eu", text="Refr3sh-token\n", dry_run=False)
    assert "Refr3sh-token" not in result.output
    cloud = written(result)["clouds"]["in2p3-ires"]
    assert (cloud["auth_url"], cloud["project_id"]) == (
        "https://sbgcloud.in2p3.fr:5000/v3",
        "abc123",
    )
    assert cloud["source"]["refresh_token_file"] == "/etc/lamplighter/cloud.secret"
    assert "write: /etc/lamplighter/cloud.secret (600)" in result.output
    assert "write: /var/lib/lamplighter/token.key (600)" in result.output
    refused = run(folder, *words, "--yes", "--vo=vo.example.eu", dry_run=False)
    assert "put the refresh token into /etc/lamplighter/cloud.secret" in str(refused.exception)
    assert "--vo: is needed" in str(run(folder, *words, "--yes", dry_run=False).exception)
    other = run(folder, *words, "--vo=other", text="x\n", dry_run=False)
    assert "has no VO 'other'" in str(other.exception)
    monkeypatch.setattr(cloud_entry, "CLOUD_SECRET", file)
    assert run(folder, *words, "--yes", "--vo=vo.example.eu", dry_run=False).exit_code == 0


def test_a_dry_run_needs_no_secret(folder: Path) -> None:
    """It only shows text: neither a refresh token is wanted, nor what clouds.yaml lacks."""
    file = folder / "IN2P3-IRES.yaml"
    file.write_text(SITE)
    lacking = USER.replace("password: very-secret, ", "")
    (folder / "clouds.yaml").write_text(f"clouds:\n  site:\n    auth: {{{lacking}}}\n")
    for words in ((f"--fedcloud-site={file}", "--vo=vo.example.eu"), ("--cloud=site",)):
        for more in ((), ("--yes",)):
            result = run(folder, *words, "--strategy=stop", *more)
            assert result.exit_code == 0, result.output + str(result.exception)
            assert "write: /etc/lamplighter/cloud.secret (600)" in result.output
