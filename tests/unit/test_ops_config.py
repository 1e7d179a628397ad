"""`lamplighter config`: the file that counts, each setting with its meaning, and no secret."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ops.cli.main import cli
from ops.site.config import settings_of
from producers import config_file
from producers.settings import ConfigError, read_toml
from workers.config.settings import load

if TYPE_CHECKING:
    from click.testing import Result

ROOT = Path(__file__).parents[2]
SECRETS = """
cluster = "vespa"
[broker]
url = "amqp://me@localhost/v"
[store]
url = "postgresql+psycopg://me@db/state?sslmode=verify-full&sslkey=s3cr3t"
[clouds.c]
auth_url = "https://cloud/v3"
project_id = "p"
[clouds.c.source]
type = "password"
username = "u"
password_command = ["show-it", "s3cr3t"]
[[notify.webhook]]
name = "chat"
url = "https://hooks.example.org/s3cr3t?room=s3cr3t"
events = ["failed"]
"""


def run(*arguments: str, **environ: str | None) -> Result:
    environ = {"LAMPLIGHTER_CONFIG": None, "SLURM_CONF": None, "COLUMNS": "80"} | environ
    return CliRunner().invoke(cli, arguments, env=environ)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file beside slurm.conf, and another one that does not count."""
    monkeypatch.setattr(config_file, "SLURM_FOLDERS", (str(tmp_path / "slurm"),))
    monkeypatch.setattr(config_file, "DEFAULT_FOLDER", tmp_path / "own")
    for name in ("slurm", "own"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lamplighter.toml").write_text(SECRETS)
    return tmp_path / "slurm/lamplighter.toml"


def test_the_file_that_counts_is_named_and_the_others_are_not_read(file: Path) -> None:
    places = {
        place["place"]: place["state"]
        for place in json.loads(run("config", "--json").stdout)["places"]
    }
    assert places[str(file)] == "COUNTS"
    assert places[str(file.parents[1] / "own/lamplighter.toml")] == "there, but NOT READ"
    named = str(file.parents[1] / "own/lamplighter.toml")
    for arguments, environ in (
        (("--config", named), {"LAMPLIGHTER_CONFIG": "/else"}),
        ((), {"LAMPLIGHTER_CONFIG": named}),
    ):
        out = json.loads(run(*arguments, "config", "--json", **environ).stdout)
        states = [(place["place"], place["state"]) for place in out["places"]]
        assert out["file"] == named
        assert [place for place, state in states if state == "COUNTS"] == [named]
        assert (str(file), "there, but NOT READ") in states


def test_no_secret_is_printed(file: Path) -> None:
    assert file.exists()
    for arguments in (("config",), ("config", "--json")):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert "s3cr3t" not in result.output
        assert "hooks.example.org" in result.output
        assert "show-it" in result.output


def test_the_listing_fits_80_columns_and_says_what_is_set(file: Path) -> None:
    out = run("config").stdout
    assert str(file) in out
    tables = out[out.index("[broker]") :]
    assert max(map(len, tables.splitlines())) <= 80
    assert re.search(r"^username +\"u\" +set ", out, re.MULTILINE)
    assert re.search(r"^lease +60.0 +default +how long a worker owns", out, re.MULTILINE)


def test_every_setting_has_a_meaning(tmp_path: Path) -> None:
    """The example of the documentation has a table of each kind."""
    page = (ROOT / "docs/configuration.md").read_text()
    example, *_ = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "lamplighter.toml"
    path.write_text(example)
    found = list(settings_of(load(path, {}), read_toml(path)))
    assert [f"{one.table}.{one.name}" for one in found if not one.meaning] == []
    assert {one.table for one in found} >= {"broker", "clouds.sbg.source", "groups.compute.server"}


def test_the_users_of_the_roles_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text('cluster = "vespa"\n[broker]\nurl = "amqps://h/v"\nusers = { prefix = "x-" }\n')
    found = {one.name: one for one in settings_of(load(path, {}), read_toml(path)) if one.meaning}
    shown = {name: (found[name].table, found[name].value) for name in ("folder", "prefix", "login")}
    assert shown == {
        "folder": ("broker.users", str(tmp_path / "broker")),
        "prefix": ("broker.users", "x-"),
        "login": ("broker.users", "password"),
    }


def test_an_unusable_file_is_named_before_its_error(file: Path) -> None:
    file.write_text(SECRETS + "[powre]\n")
    result = run("config")
    assert str(file) in result.output
    assert isinstance(result.exception, ConfigError)
    assert "did you mean power?" in str(result.exception)
