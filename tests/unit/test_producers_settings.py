"""Where lamplighter.toml is found, and how each fault in it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.settings import ConfigError, find_config, hook_settings
from workers.settings import load

WHOLE = """
cluster = "vespa"
[broker]
url = "amqp://me@localhost:5672/vespa"
"""


def test_it_is_found_by_its_variable_then_beside_slurm_conf_then_in_etc(tmp_path: Path) -> None:
    beside = tmp_path / "lamplighter.toml"
    environ = {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    assert find_config(environ) == Path("/etc/lamplighter/lamplighter.toml")
    beside.touch()
    assert find_config(environ) == beside
    assert find_config({**environ, "LAMPLIGHTER_CONFIG": "/else/x.toml"}) == Path("/else/x.toml")
    assert find_config({}) == Path("/etc/lamplighter/lamplighter.toml")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "cluster: must be a text"),
        ('cluster = "a b"', "cluster: "),
        ('cluster = "x"', r"broker\.url: must be a text"),
        ('cluster = "x"\nbroker = 5', r"broker: must be a table"),
        ('cluster = "x"\n[broker]\nurl = "http://x"', r"broker\.url: must look like amqp://"),
        (WHOLE + "[hooks]\nspool = 5", r"hooks\.spool: must be a text"),
        (WHOLE + "[slurm]\nresume_timeout = -1", r"slurm\.resume_timeout: must be whole seconds"),
        (WHOLE + "[slurm]\nsuspend_timeout = true", r"slurm\.suspend_timeout"),
        ("cluster = ", "is no valid TOML"),
    ],
)
def test_each_fault_names_file_and_field(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=field) as caught:
        hook_settings(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write one .* or set LAMPLIGHTER_CONFIG"):
        hook_settings(tmp_path / "none.toml")


def test_paths_start_at_the_file_s_folder_and_the_password_comes_from_its_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(WHOLE + 'password_file = "pw"\n[hooks]\nspool = "spool"\n')
    (tmp_path / "pw").write_text("p@ss/word\n")
    settings = hook_settings(path)
    assert settings.spool == tmp_path / "spool"
    assert settings.broker.full_url() == "amqp://me:p%40ss%2Fword@localhost:5672/vespa"
    assert "p%40ss" not in settings.broker.shown


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("[power]\nprefetch = 0", "power.prefetch"),
        ("[powre]\n", "powre"),
        ('[groups.a]\nnodes = "n1"\ncloud = "none"', "groups.a.cloud"),
        ("[clouds.c]\n", "clouds"),
    ],
)
def test_the_workers_part_names_the_field_too(tmp_path: Path, more: str, field: str) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(WHOLE + more)
    with pytest.raises(ConfigError, match=field):
        load(path)
