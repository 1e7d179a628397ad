"""Rules for every test run, tested by running pytest in a separate process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.testbed import install
from tests.testbed.processes import MINIMAL_ENVIRONMENT, Child
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]


def command(folder: Path, text: str) -> Sequence[str]:
    """Return the command that runs a test file with this project's fixtures and rules."""
    path = folder / "test_it.py"
    path.write_text(text)
    options = ["-p", "tests.conftest", "--rootdir", str(folder), "-c", os.devnull]
    return [sys.executable, "-m", "pytest", *options, str(path)]


def run(folder: Path, text: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, text),
        env=MINIMAL_ENVIRONMENT | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\n@pytest.mark.skip(reason='no moon')\ndef test_it(): pass",
        "import pytest\ndef test_it(): pytest.skip('no moon')",
        "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no moon')\ndef test_it(f): pass",
        "import pytest\npytest.skip('no moon', allow_module_level=True)",
    ],
)
def test_in_ci_a_skip_is_a_failure(tmp_path: Path, text: str) -> None:
    done = run(tmp_path, text, CI="true")
    assert done.returncode in {1, 2}, done.stdout
    assert "with CI=true a skip is a failure" in done.stdout
    assert "no moon" in done.stdout


def test_an_expected_failure_stays_one(tmp_path: Path) -> None:
    done = run(tmp_path, "import pytest\n@pytest.mark.xfail\ndef test_it(): assert 0", CI="true")
    assert done.returncode == 0, done.stdout
    assert "1 xfailed" in done.stdout


def test_all_packages_of_the_tests_are_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["test", "--check"]) == 0
    assert capsys.readouterr().err == ""


def test_the_header_names_the_broker(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_it(): pass")
    assert "\nbroker: " in done.stdout
    assert "broker: no RabbitMQ" not in done.stdout


def test_a_broker_url_that_does_not_answer_is_reported_at_once(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "def test_it(broker): pass",
        LAMPLIGHTER_TEST_AMQP_URL="amqp://guest:pa55word@127.0.0.1:1/",
    )
    assert done.returncode == 1
    assert "LAMPLIGHTER_TEST_AMQP_URL: 127.0.0.1 refuses the connection" in done.stdout
    assert "pa55word" not in done.stdout


def test_a_failed_test_keeps_its_folder_and_shows_the_logs(tmp_path: Path) -> None:
    text = (
        "def test_it(run_dir):\n"
        "    (run_dir / 'server.log').write_text('no space left\\n')\n"
        "    assert False\n"
    )
    done = run(tmp_path, text, TMPDIR=str(tmp_path))
    [folder] = tmp_path.glob("lamplighter-*")
    assert f"kept: {folder}" in done.stdout
    assert f"-- the end of {folder}/server.log\nno space left\n" in done.stdout


def test_a_passed_test_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    done = run(tmp_path, "def test_it(run_dir, vhost): pass", TMPDIR=str(folder))
    assert done.returncode == 0, done.stdout
    assert not [*folder.iterdir()]


def test_the_tests_with_the_longest_limits_run_first(tmp_path: Path) -> None:
    text = (
        "import pytest\n"
        "def test_a(): pass\n"
        "@pytest.mark.timeout(600)\ndef test_b(): pass\n"
        "def test_c(): pass\n"
        "@pytest.mark.openstack\ndef test_d(): pass\n"
        "@pytest.mark.timeout(900)\ndef test_e(): pass\n"
    )
    done = run(tmp_path, text, PYTEST_ADDOPTS="-v -W ignore::pytest.PytestUnknownMarkWarning")
    assert re.findall(r"::test_(\w) PASSED", done.stdout) == [*"debac"]


def test_sigterm_stops_the_servers_of_a_run(tmp_path: Path) -> None:
    text = (
        "import pathlib, signal\n"
        "def test_it(run_dir, private_broker):\n"
        "    print('\\n' + str(run_dir), *private_broker.pids(), flush=True)\n"
        "    signal.pause()\n"
    )
    log = tmp_path / "log"
    with Child([*command(tmp_path, text), "-s"], log=log, cwd=ROOT) as child:
        line = until(
            lambda: [x for x in log.read_text().splitlines() if x.startswith("/")],
            60,
            "the inner test",
        )[0]
        folder, *pids = line.split()
        assert len(pids) == 2
        child.send(signal.SIGTERM)
        child.wait(60)
    assert not Path(folder).exists()
    until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids), 5, "the servers' end")
