"""Fixtures shared by all tests: private servers, started when a test first asks for them."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import hypothesis
import pytest

from tests.testbed.broker import Broker, PrivateBroker
from tests.testbed.broker_choice import choose
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.sharing import (
    FileScheduling,
    interrupt_once,
    interrupt_xdist_workers,
    is_xdist_worker,
)
from tests.testbed.slurm import PrivateSlurm

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from xdist.remote import Producer

    from tests.testbed.broker_choice import Choice
    from tests.testbed.slurm_conf import SlurmSettings

# Set to keep the folders of servers, with their logs, after the run.
KEEP = "LAMPLIGHTER_TEST_KEEP"
BROKER: pytest.StashKey[Choice | str] = pytest.StashKey()
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the broker once, for the header and for the fixtures."""
    # Who ends the run with SIGTERM wants the servers gone as well, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if is_xdist_worker(config):
        interrupt_once()
    # How long an example takes on a busy machine is no property of ours.
    hypothesis.settings.register_profile("unhurried", deadline=None)
    hypothesis.settings.load_profile("unhurried")
    try:
        config.stash[BROKER] = choose()
    except RuntimeError as error:
        # The words alone: a traceback shows arguments, and with them the broker's password.
        config.stash[BROKER] = str(error)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which broker this run uses."""
    chosen = config.stash[BROKER]
    return f"broker: {chosen if isinstance(chosen, str) else chosen.description}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests on real OpenStack first: theirs is the longest share of the run."""
    items.sort(key=lambda item: item.get_closest_marker("openstack") is None)
    for item in items:
        if item.get_closest_marker("openstack"):
            # The first of them waits for the installation where there is none yet.
            item.add_marker(pytest.mark.timeout(1200), append=False)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    """Let pytest-xdist share the run so."""
    return FileScheduling(config, log)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist kills those who take longer than 10 s
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let all who share an interrupted run end their servers."""
    if exitstatus == pytest.ExitCode.INTERRUPTED and not is_xdist_worker(session.config):
        interrupt_xdist_workers()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test be skipped silently."""
    return _without_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let no file of tests be skipped silently."""
    return _without_skip((yield))


def _without_skip(report: Report) -> Report:
    """Turn a skip into a failure where `CI` is true; an expected failure stays one."""
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"with CI=true a skip is a failure: {report.longrepr}"
    return report


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lamplighter-"))
    # The servers that are given other users must reach their own folders below.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if not os.environ.get(KEEP):
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def session_dir() -> Iterator[Path]:
    """A folder of this run, with a path short enough for Unix sockets, open to other users."""
    with _folder() as folder:
        yield folder


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A folder of this test, with a path short enough for Unix sockets, open to other users."""
    with _folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config, session_dir: Path) -> Iterator[Broker]:
    """The broker of this run; tests that restart or break one take `private_broker`."""
    chosen = pytestconfig.stash[BROKER]
    if isinstance(chosen, str):
        pytest.fail(chosen)
    with chosen.open(session_dir) as server:
        yield server


@pytest.fixture
def vhost(broker: Broker) -> Iterator[str]:
    """The name of a fresh vhost on `broker`."""
    name = broker.create_vhost()
    yield name
    broker.delete_vhost(name)


@pytest.fixture
def broker_url(broker: Broker, vhost: str) -> str:
    """The AMQP URL of a fresh vhost, for its administrator."""
    return broker.amqp_url(vhost)


@pytest.fixture
def private_broker(run_dir: Path) -> Iterator[PrivateBroker]:
    """A broker for this test alone, which may be stopped, killed and restarted."""
    with PrivateBroker(run_dir / "broker") as server:
        yield server


@pytest.fixture
def slurm_factory(run_dir: Path) -> Iterator[Callable[[SlurmSettings], PrivateSlurm]]:
    """Start a private Slurm with these settings; it ends with the test."""
    with ExitStack() as running:

        def start(settings: SlurmSettings) -> PrivateSlurm:
            folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=run_dir))
            folder.chmod(0o755)
            return running.enter_context(PrivateSlurm(folder, settings))

        yield start


@pytest.fixture(scope="session")
def openstack(session_dir: Path) -> Iterator[RealOpenStack]:
    """A real OpenStack; tests that use it bear its mark, and leave neither servers nor orders."""
    with RealOpenStack(session_dir / "os") as cloud:
        yield cloud
