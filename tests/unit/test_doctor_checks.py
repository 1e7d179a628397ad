"""No check of `lamplighter doctor` stops another: whatever fails or hangs becomes a finding."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ops.cli.main import cli
from ops.doctor import checks, command
from ops.doctor.checks import findings_of
from ops.site.findings import Finding, Severity
from ops.site.kinds import Kind
from producers.settings import ConfigError
from tests.unit.test_doctor import GOOD_TOML

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

# On SQLite: the example of lamplighter.toml, which PostgreSQL's URLs replace.

NOTE = Finding(Severity.NOTE, Kind.CHECK, "well", None)
SECRET = "s3cr3t-in-an-exception"


def failing(error: Exception) -> Iterator[Finding]:
    yield NOTE
    raise error


def doctor(config: Path, *words: str) -> Result:
    return CliRunner(env={"LAMPLIGHTER_CONFIG": str(config)}).invoke(cli, ["doctor", *words])


@pytest.mark.parametrize(
    ("error", "severity", "words"),
    [
        (PermissionError(13, "Permission denied", "/x"), Severity.AWAY, "Permission denied"),
        (ConfigError("broker.url: is wrong"), Severity.WRONG, "part: broker.url: is wrong"),
        (RuntimeError(SECRET), Severity.AWAY, "part: failed: RuntimeError"),
        (KeyError(SECRET), Severity.AWAY, "part: failed: KeyError"),
        (RecursionError(), Severity.AWAY, "RecursionError"),
    ],
)
def test_a_check_that_fails_says_so_and_keeps_what_it_found(
    error: Exception, severity: Severity, words: str
) -> None:
    found = findings_of("part", lambda: failing(error))
    assert found[0] == NOTE
    assert (found[1].severity, words in found[1].words) == (severity, True)
    assert SECRET not in found[1].words


def test_a_check_that_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_SECONDS", 0.2)
    release = Event()

    def check() -> Iterator[Finding]:
        yield NOTE
        release.wait()

    before = time.monotonic()
    found = findings_of("the database", check)
    release.set()
    assert time.monotonic() - before < 20.0
    assert [one.severity for one in found] == [Severity.NOTE, Severity.AWAY]
    assert found[1].words == "the database: did not end within 0.2 s"


@pytest.mark.parametrize(
    "name",
    ["of_configuration", "_of_slurmctld", "of_host", "of_systemd", "of_broker", "of_store",
     "of_measured", "of_logins", "of_clouds"],
)  # fmt: skip
def test_the_output_is_one_json_object_whatever_fails(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = run_dir / "lamplighter.toml"
    config.write_text(GOOD_TOML.replace(":5672/", ":1/"))
    config.chmod(0o666 if name == "of_configuration" else 0o640)
    if name in {"of_logins", "of_clouds"}:  # they need a broker
        monkeypatch.setattr(command, "of_broker", lambda _: [])

    def fail(*_: object) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(command, name, fail)
    result = doctor(config, "--json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)["findings"]
    assert any("ZeroDivisionError" in one["words"] for one in found)
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("lines", "user"),
    [("SlurmUser=nobody\n", "nobody"), ("ClusterName=c\n", "root"), (None, None)],
)
def test_while_slurmctld_is_away_slurm_conf_names_the_hooks_user(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, lines: str | None, user: str | None
) -> None:
    """Folders that belong to another user than the usual slurm are right there; nothing is guessed."""
    config = run_dir / "lamplighter.toml"
    config.write_text(
        GOOD_TOML.replace(":5672/", ":1/").replace("[slurm]", '[slurm]\nconf = "my.conf"')
    )
    config.chmod(0o640)
    (run_dir / "spool").mkdir(mode=0o700)
    if lines is not None:
        (run_dir / "my.conf").write_text(lines)
    seen: list[str | None] = []

    def check(_: object, hooks: str | None) -> list[Finding]:
        seen.append(hooks)
        return []

    monkeypatch.setattr(command, "_of_slurmctld", lambda *_: [])
    monkeypatch.setattr(command, "of_host", check)
    monkeypatch.setattr(command, "of_planned", check)
    assert doctor(config).exit_code == 3
    assert seen == [user, user]


@pytest.mark.slow
def test_a_part_that_accepts_and_is_silent_ends_in_time(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database, broker, token service: a listener that never says a word."""
    monkeypatch.setattr(checks, "_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        config = run_dir / "lamplighter.toml"
        toml = GOOD_TOML.replace("sqlite:///state.db", f"postgresql+psycopg://u@127.0.0.1:{port}/x")
        config.write_text(toml.replace(":5672/", f":{port}/"))
        config.chmod(0o640)
        before = time.monotonic()
        result = doctor(config, "--json")
        assert time.monotonic() - before < 30.0
    found = {one["words"] for one in json.loads(result.stdout)["findings"]}
    assert any("stores: did not end" in one for one in found)
    assert result.exit_code == 3


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "closed folder", "empty", "binary"])
def test_a_configuration_that_cannot_be_read_is_one_json_object(run_dir: Path, kind: str) -> None:

    config = run_dir / "etc" / "lamplighter.toml"
    config.parent.mkdir()
    match kind:
        case "folder":
            config.mkdir()
        case "fifo":
            os.mkfifo(config)
        case "closed folder":
            config = Path("/proc/1/root/none/lamplighter.toml")
        case "empty":
            config.touch(mode=0o600)
        case "binary":
            config.touch(mode=0o600)
            config.write_bytes(b"\xff\0" * 1000)
    result = doctor(config, "--json")
    (found,) = json.loads(result.stdout)["findings"]
    assert result.exit_code == 1
    assert (found["finding"], found["severity"]) == ("configuration", "wrong")
    assert "lamplighter.toml" in found["words"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('password_file = "password"', "broker.password_file"),
        ('password_file = "cloud.password"', "source"),
        ("[groups.g]", "audit.key_file"),
    ],
)
@pytest.mark.parametrize("words", [("doctor",), ("doctor", "--json"), ("status",)], ids=str)
def test_a_secret_in_place_of_its_file_is_not_repeated(
    run_dir: Path, text: str, key: str, words: tuple[str, ...]
) -> None:
    secret = "Hunter2-s3cr3t"
    config = run_dir / "lamplighter.toml"
    new = (
        f'[audit]\nkey_file = "{secret}"\n[groups.g]'
        if text[0] == "["
        else f'password_file = "{secret}"'
    )
    config.write_text(GOOD_TOML.replace(text, new))
    config.chmod(0o640)
    result = CliRunner(env={"LAMPLIGHTER_CONFIG": str(config)}).invoke(cli, words)
    assert result.exit_code != 0
    assert secret not in result.output + str(result.exception)
    said = "".join((result.output + str(result.exception)).split())  # it may be wrapped
    assert key != "broker.password_file" or f"directory:{run_dir}/***;" in said


def test_a_secret_in_a_finding_is_masked_and_the_name_of_its_setting_is_not(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_dir / "lamplighter.toml"
    config.write_text(GOOD_TOML)
    config.chmod(0o640)
    (run_dir / "password").write_text(f"{SECRET}\n")
    (run_dir / "password").chmod(0o600)
    shown = Finding(Severity.WRONG, Kind.CHECK, f"broker.password: is {SECRET}", f"change {SECRET}")
    monkeypatch.setattr(command, "of_systemd", lambda _: [shown])
    output = doctor(config).output
    assert SECRET not in output
    assert "broker.password: is ***" in output
    assert "change ***" in output
