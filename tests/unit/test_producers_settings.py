"""Where lamplighter.toml is found, and the error for each mistake in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from producers.amqp import connection_parameters
from producers.broker_settings import BrokerSettings
from producers.settings import ConfigError, hook_settings
from schemas.roles import Role
from workers.config.settings import load

WHOLE = """
cluster = "vespa"
[broker]
url = "amqp://me@localhost:5672/vespa"
"""


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "cluster: must be a string"),
        ('cluster = "a b"', "cluster: "),
        ('cluster = "x"', r"broker\.url: must be a string"),
        ('cluster = "x"\nbroker = 5', r"broker: must be a table"),
        ('cluster = "x"\n[broker]\nurl = "http://x"', r"broker\.url: must look like amqp://"),
        (WHOLE + "[hooks]\nspool = 5", r"hooks\.spool: must be a string"),
        (WHOLE + "[slurm]\nresume_timeout = -1", r"slurm\.resume_timeout: must be whole seconds"),
        (WHOLE + "[slurm]\nsuspend_timeout = true", r"slurm\.suspend_timeout: .* write suspend_t"),
        (
            WHOLE + "[slurm]\nresume_timeout = 99999999999999",
            r"slurm\.resume_timeout: .* to 31536000",
        ),
        (WHOLE + "[hooks]\nstate = ''", r"hooks\.state: .* write state ="),
        (WHOLE + "[hooks]\nlog_file = []", r"hooks\.log_file: .* write log_file ="),
        (WHOLE + "password_file = 5", r"broker\.password_file: .* write password_file ="),
        (WHOLE + "ca_file = true", r"broker\.ca_file: .* write ca_file ="),
        (WHOLE + "[[hooks]]\n", r"hooks: must be a table: write \[hooks\]"),
        ('cluster = "x"\n[broker]\nurl = "amqp:///v"', r"broker\.url: must look like amqp://"),
        ("cluster = ", "is not valid TOML"),
    ],
)
def test_each_error_names_file_and_field(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=field) as caught:
        hook_settings(path)
    assert str(path) in str(caught.value)


def put_secret(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.touch()
    path.chmod(mode)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_missing_file_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"run lamplighter init, or write one .* or set LAMPLIGHTER_CONFIG"
    ):
        hook_settings(tmp_path / "none.toml")


def test_paths_start_at_the_files_folder_and_the_password_comes_from_its_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(WHOLE + 'password_file = "pw"\n[hooks]\nspool = "spool"\n')
    put_secret(tmp_path / "pw", "p@ss/word\n")
    settings = hook_settings(path)
    assert settings.spool == tmp_path / "spool"
    assert settings.broker.full_urls() == ["amqp://me:p%40ss%2Fword@localhost:5672/vespa"]
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
def test_errors_in_the_workers_part_name_the_field_too(
    tmp_path: Path, more: str, field: str
) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(WHOLE + more)
    with pytest.raises(ConfigError, match=field):
        load(path)


def test_a_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"lamplighter\.toml: is not valid TOML: "):
        hook_settings(path)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://me:s3cr/3t@localhost:5672/v",
        "amqp://me:s3cr#3t@localhost:5672/v",
        "amqp://me:s3cr?3t@localhost:5672/v",
        "amqp://me:s3cr3t@localhost:s3cr3t/v",
        "amqp://me:s3cr3t@localhost:99999/v",
        "amqp://me:s3cr3t@[::1/v",
        "http://me:s3cr3t@localhost/v",
    ],
)
def test_no_error_in_the_url_shows_its_password(tmp_path: Path, url: str) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(f'cluster = "vespa"\n[broker]\nurl = "{url}"\n')
    with pytest.raises(ConfigError, match=r"broker\.url: must look like amqp://") as caught:
        hook_settings(path)
    assert "s3cr" not in str(caught.value)
    assert "s3cr" not in BrokerSettings((url,)).shown.replace("localhost:s3cr3t", "")


@pytest.mark.parametrize(
    ("broker", "field"),
    [
        (BrokerSettings(("amqp://me@127.0.0.1/v",)), r"broker\.password_file: is missing: write"),
        (
            BrokerSettings(("amqp://me@127.0.0.1/v",), Path("none")),
            r"broker\.password_file: .*make it readable",
        ),
        (
            BrokerSettings(("amqp://me@127.0.0.1/v",), Path("/dev/null")),
            r"broker\.password_file: /dev/null is not a file; name a file",
        ),
        (
            BrokerSettings(("amqp://127.0.0.1/v",), Path("pw")),
            r"broker\.url: names no user: write \[broker\.users\]",
        ),
        (
            BrokerSettings(("amqp://me:x@127.0.0.1/v?heartbeat=s3cr",)),
            r"broker\.url: ValueError in amqp://127.0.0.1/v",
        ),
        (
            BrokerSettings(("amqps://me:x@127.0.0.1/v",), None, Path("none")),
            r"broker\.ca_file: none: No such",
        ),
        (
            BrokerSettings(("amqps://me:x@127.0.0.1/v",), None, Path(__file__)),
            r"broker\.ca_file: .*name a file",
        ),
    ],
)
def test_errors_found_on_use_name_the_field_too(broker: BrokerSettings, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        connection_parameters(broker, "test")


def test_the_content_of_a_binary_password_file_is_not_quoted(tmp_path: Path) -> None:
    put_secret(tmp_path / "pw", b"s3cr3t\xff")
    with pytest.raises(ConfigError, match=r"broker\.password_file: .* is not UTF-8 text") as caught:
        connection_parameters(BrokerSettings(("amqp://me@127.0.0.1/v",), tmp_path / "pw"), "test")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("urls = []", r"broker\.urls: must be a list"),
        ('urls = "amqp://u@h/v"', r"broker\.urls: must be a list"),
        ('url = "amqp://u@h/v"\nurls = ["amqp://u@h/v"]', r"broker\.urls: replaces url"),
        ('urls = ["amqp://u@h/v", "amqp://u@g/w"]', r"broker\.urls: name the nodes of one cluster"),
        ('urls = ["amqp://u@h/v", "amqps://u@g/v"]', r"broker\.urls: name the nodes of one"),
        ('urls = ["amqp://u@h/v", "http://u@g/v"]', r"broker\.urls: must look like amqp://"),
        ('url = "amqps://u@h/v"\ncert_file = "c"', r"broker\.key_file: is missing"),
        ('url = "amqps://u@h/v"\nkey_file = "k"', r"broker\.cert_file: is missing"),
    ],
)
def test_addresses_of_one_cluster_are_checked(tmp_path: Path, lines: str, problem: str) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(f'cluster = "vespa"\n[broker]\n{lines}\n')
    with pytest.raises(ConfigError, match=problem):
        hook_settings(path)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", ()),
        ('management_url = "https://b:15671/x"', ("https://b:15671/x", "https://a:15671/x")),
        ('management_url = "http://balancer"', ("http://balancer",)),
        ('management_urls = ["http://a:1", "http://b:2"]', ("http://a:1", "http://b:2")),
    ],
)
def test_management_api_is_that_of_each_node(
    tmp_path: Path, lines: str, expected: tuple[str, ...]
) -> None:
    path = tmp_path / "lamplighter.toml"
    urls = '["amqp://me@a/v", "amqp://me@b:5673/v"]\ninsecure = true'
    path.write_text(f'cluster = "vespa"\n[broker]\nurls = {urls}\npassword_file = "p"\n{lines}\n')
    assert load(path).management_urls == expected


ROLES = 'urls = ["amqps://a/v", "amqps://b:5673/v"]\n'


def test_each_address_of_a_cluster_gets_the_user_of_the_role(tmp_path: Path) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(
        f'cluster = "vespa"\n[broker]\n{ROLES}users = {{ folder = "u", prefix = "x-" }}\n'
    )
    (tmp_path / "u").mkdir()
    put_secret(tmp_path / "u/power.password", "s3cr/t\n")
    broker = hook_settings(path, Role.POWER).broker
    assert broker.full_urls() == [
        "amqps://x-power:s3cr%2Ft@a/v",
        "amqps://x-power:s3cr%2Ft@b:5673/v",
    ]
    with pytest.raises(ConfigError, match=r"broker\.users\.folder: .*hook\.password"):
        hook_settings(path).broker.full_urls()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('urls = ["amqp://u@h/v"]\nusers = {}', r"broker\.users: .*remove the user from urls"),
        (f'{ROLES}password_file = "p"\nusers = {{}}', r"broker\.users: each role has its own"),
        (f'{ROLES}users = {{ login = "secret" }}', r"broker\.users\.login: must be"),
        (f'{ROLES}users = {{ floder = "x" }}', r"broker\.users\.floder: .* did you mean folder"),
        (f'{ROLES}users = {{ prefix = "a b" }}', r"broker\.users\.prefix: may hold"),
        (f'{ROLES}users = "x"', r"broker\.users: must be a table"),
        (
            f'{ROLES}cert_file = "c"\nkey_file = "k"\nusers = {{ login = "certificate" }}',
            r"broker\.cert_file: each role has its own",
        ),
        (
            'url = "amqp://h/v"\nusers = { login = "certificate" }',
            r"broker\.url: must begin with amqps",
        ),
    ],
)
def test_what_contradicts_a_user_for_each_role_is_refused(
    tmp_path: Path, lines: str, problem: str
) -> None:
    path = tmp_path / "lamplighter.toml"
    path.write_text(f'cluster = "vespa"\n[broker]\n{lines}\n')
    with pytest.raises(ConfigError, match=problem):
        hook_settings(path)


@pytest.mark.parametrize("other", ["10.0.0.1", "localhost.example.org", "[::2]", "128.0.0.1"])
def test_one_user_for_all_is_refused_if_one_address_is_another_host(other: str) -> None:
    here = ("amqp://me:x@localhost/v", "amqp://me:x@127.1.2.3/v", "amqp://me:x@[::1]:5672/v")
    assert BrokerSettings(here).full_urls() == list(here)
    with pytest.raises(ConfigError, match=r"another host; one user for all roles"):
        BrokerSettings((*here, f"amqp://me:x@{other}/v")).full_urls()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 50_000 + " = 1",
        "[" + "a ." * 50_000 + "a]",
        'x = {"a"' + " . 'b'" * 50_000 + " = 1}",
        "a" * 500_000,
        '"' * 500_000,
        "'a\"" * 200_000,
        "a " * 250_000,
        "x = [" + "[" * 200_000,
        "x = " + "{a=" * 100_000,
        "[[a]]\n" * 100_000 + "!",
        "x = " + "9" * 500_000,
        "#" * 2_000_000,
        "\n".join("a" + ".a" * 38 + f".b{n} = 1" for n in range(10_000)),
    ],
    ids=range(13),
)
def test_no_toml_takes_long(tmp_path: Path, text: str) -> None:
    file = tmp_path / "lamplighter.toml"
    file.write_text(text)
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"lamplighter\.toml"):
        hook_settings(file)
    assert time.process_time() - began < 10.0


def test_a_value_with_many_dots_is_no_deep_key(tmp_path: Path) -> None:
    file = tmp_path / "lamplighter.toml"
    reverse = ".".join("0" * 32) + ".ip6.arpa"  # the longest name in use
    file.write_text(f'cluster = "c"\n[broker]\nurl = "amqps://me@{reverse}/v"  # ...\n')
    assert hook_settings(file).broker.urls == (f"amqps://me@{reverse}/v",)


def test_a_pipe_in_place_of_the_file_stops_no_hook(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lamplighter.toml")
    with pytest.raises(ConfigError, match="is not a file"):
        hook_settings(tmp_path / "lamplighter.toml")
