"""The test bed's Docker engine: its lifetime, its packages, and the secrets of a build."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.testbed.docker import debian, locks
from tests.testbed.docker.build import build_secrets
from tests.testbed.docker.client import DockerError, Engine
from tests.testbed.docker.engine import packages
from tests.testbed.docker.keeper import keep
from tests.testbed.docker.private import PrivateEngine
from tests.testbed.waiting import until

USER = """
import fcntl, sys
lock = open(sys.argv[1])
fcntl.flock(lock, fcntl.LOCK_SH)
print("using", flush=True)
sys.stdin.read()
"""


class Daemon(PrivateEngine):
    """Replaces dockerd: writes its pid, then sleeps."""

    def argv(self) -> list[str]:
        return [
            "sh",
            "-c",
            f"echo $$ >{self.pidfile}.new; mv {self.pidfile}.new {self.pidfile}; exec sleep 600",
        ]


@pytest.fixture
def engine(tmp_path: Path) -> PrivateEngine:
    return Daemon(run=tmp_path, cache=tmp_path)


def _user(engine: PrivateEngine) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", USER, str(engine.users)]
    user = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout
    assert user.stdout.readline() == "using\n"
    return user


@pytest.mark.slow
def test_the_engine_runs_until_its_last_user_has_left_or_was_killed(engine: PrivateEngine) -> None:
    engine.users.touch()
    with _user(engine) as first, _user(engine) as second:
        keeper = threading.Thread(target=keep, args=(engine,))
        keeper.start()
        until(engine.pidfile.exists, 10.0, "the daemon")
        daemon = int(engine.pidfile.read_text())
        first.communicate("")
        keeper.join(1.0)
        assert keeper.is_alive()
        os.kill(daemon, 0)
        second.send_signal(signal.SIGKILL)
        keeper.join(10.0)
        assert not keeper.is_alive()
        with pytest.raises(ProcessLookupError):
            os.kill(daemon, 0)


def test_alone_is_false_while_another_holder_shares_the_lock(tmp_path: Path) -> None:
    with locks.opened(tmp_path / "lock") as mine, locks.opened(tmp_path / "lock") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not locks.alone(mine)
        fcntl.flock(other, fcntl.LOCK_UN)
        assert locks.alone(mine)


def test_a_build_gets_indexes_and_certificates_but_no_local_folder(
    tmp_path: Path,
) -> None:
    settings = {
        "index-url": "https://user:secret@packages.example.org/simple",
        "extra-index-url": "file:///packages/simple https://more.example.org/simple",
        "find-links": "/wheels",
        "constraint": "/constraints.txt",
        "cert": "/certificates.crt",
    }
    secrets = build_secrets(tmp_path, settings, {})
    assert secrets["ca.crt"] == Path("/certificates.crt")
    assert secrets["pip.conf"].read_text().splitlines() == [
        "[global]",
        "index-url = https://user:secret@packages.example.org/simple",
        "extra-index-url = https://more.example.org/simple",
        "cert = /run/secrets/ca.crt",
    ]
    assert secrets["pip.conf"].stat().st_mode & 0o077 == 0


def test_a_build_without_settings_uses_pips_defaults(tmp_path: Path) -> None:
    secrets = build_secrets(tmp_path, {}, {})
    assert set(secrets) == {"pip.conf"}
    assert secrets["pip.conf"].read_text() == "[global]\n"


def test_a_missing_docker_command_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DockerError, match="install the package docker-cli"):
        Engine("none").succeeds("version")


@pytest.mark.parametrize(("available", "client"), [(True, "docker-cli"), (False, "docker.io")])
def test_the_docker_command_is_installed_from_its_own_package_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
    available: bool,  # noqa: FBT001 - a parameter
    client: str,
) -> None:
    monkeypatch.setattr(debian, "has_package", lambda _: available)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert packages() == {"docker": client, "dockerd": "docker.io"}
