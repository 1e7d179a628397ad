"""Fixtures for all tests: private servers, started when a test first uses them."""

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
from tests.testbed.failures import describe
from tests.testbed.openstack.handle import RealOpenStack
from tests.testbed.postgresql import PostgreSQL
from tests.testbed.sharing import (
    FileScheduling,
    interrupt_once,
    interrupt_xdist_workers,
    is_xdist_worker,
)
from tests.testbed.slurm import PrivateSlurm
from tests.testbed.stores import KINDS, SQLITE, STORES, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from xdist.remote import Producer

    from tests.testbed.broker_choice import Choice
    from tests.testbed.slurm_conf import SlurmSettings

# If set, the folders of all servers, with their logs, are kept after the run.
KEEP = "LAMPLIGHTER_TEST_KEEP"
UNIT = Path(__file__).parent / "unit"
BROKER: pytest.StashKey[Choice | str] = pytest.StashKey()
# Of a test or a run: its folders, and whether to keep them.
FOLDERS: pytest.StashKey[list[Path]] = pytest.StashKey()
KEPT: pytest.StashKey[bool] = pytest.StashKey()
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_configure(config: pytest.Config) -> None:
    """Handle signals, set Hypothesis up, and check which database the stores are to be in."""
    if _store_kind() not in KINDS:
        raise pytest.UsageError(f"{VARIABLE} must be one of {', '.join(KINDS)}: {_store_kind()}")
    # SIGTERM stops the servers too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if is_xdist_worker(config):
        interrupt_once()
    # The duration of an example depends on the load of the machine.
    hypothesis.settings.register_profile("thorough", deadline=None)
    hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
    hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1000)
    hypothesis.settings.load_profile(config.getoption("--hypothesis-profile") or "thorough")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Report which broker and stores this run uses, unless it runs unit tests only."""
    directory = config.invocation_params.dir
    paths = [directory / argument.partition("::")[0] for argument in config.args]
    if all(path.is_relative_to(UNIT) for path in paths):
        return None
    chosen = _broker_choice(config)
    broker = chosen if isinstance(chosen, str) else chosen.description
    return f"broker: {broker}\nstores: {_store_kind()}"


def _store_kind() -> str:
    return os.environ.get(VARIABLE) or SQLITE


def _broker_choice(config: pytest.Config) -> Choice | str:
    """Choose the broker, once per process; a string says why there is none."""
    if BROKER not in config.stash:
        try:
            config.stash[BROKER] = choose()
        except RuntimeError as error:
            # Only the message: a traceback would show arguments, and with them the password.
            config.stash[BROKER] = str(error)
    return config.stash[BROKER]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests with the longest time limits first, so that none of them ends alone at the end."""
    for item in items:
        if item.get_closest_marker("openstack"):
            # The first of them may have to wait for the installation.
            item.add_marker(pytest.mark.timeout(1200), append=False)
    items.sort(key=_limit, reverse=True)


def _limit(item: pytest.Item) -> float:
    """The seconds of a test's own time limit; 0 if it has none: it is short."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    """Distribute the tests over the processes of pytest-xdist."""
    return FileScheduling(config, log)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist kills processes that take more than 10 s
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let all processes of an interrupted run stop their servers."""
    if exitstatus == pytest.ExitCode.INTERRUPTED and not is_xdist_worker(session.config):
        interrupt_xdist_workers()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Allow no silent skip; keep the folders of a failed test and show its servers' logs."""
    report = _without_skip((yield))
    if report.failed:
        nodes: list[pytest.Item | pytest.Session] = [item]
        if "session_dir" in getattr(item, "fixturenames", ()):
            nodes.append(item.session)
        folders = [folder for node in nodes for folder in node.stash.get(FOLDERS, [])]
        for node in nodes:
            node.stash[KEPT] = True
        if text := describe(folders):
            report.sections.append(("servers of this test", text))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Allow no silent skip of a file."""
    return _without_skip((yield))


def _without_skip(report: Report) -> Report:
    """With CI=true, turn a skip into a failure; an expected failure stays one."""
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"with CI=true a skip is a failure: {report.longrepr}"
    return report


@contextmanager
def _folder(node: pytest.Item | pytest.Session) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lamplighter-"))
    # Servers that run as other users must reach their folders below.
    folder.chmod(0o755)
    node.stash.setdefault(FOLDERS, []).append(folder)
    try:
        yield folder
    finally:
        if not (os.environ.get(KEEP) or node.stash.get(KEPT, False)):
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def session_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for this run, with a path short enough for Unix sockets, open to other users."""
    with _folder(request.session) as folder:
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _stores(request: pytest.FixtureRequest) -> Iterator[None]:
    def server() -> PostgreSQL:
        folder = Path(request.getfixturevalue("session_dir"))  # only a run that needs one makes it
        return PostgreSQL(folder / "postgresql")

    with STORES.serving(_store_kind(), server):
        yield


@pytest.fixture
def run_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for this test, with a path short enough for Unix sockets, open to other users."""
    with _folder(request.node) as folder:
        yield folder


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config, session_dir: Path) -> Iterator[Broker]:
    """The broker of this run; tests that restart or break a broker use `private_broker`."""
    chosen = _broker_choice(pytestconfig)
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
    """The AMQP URL of a fresh vhost, with the administrator's login."""
    return broker.amqp_url(vhost)


@pytest.fixture
def private_broker(run_dir: Path) -> Iterator[PrivateBroker]:
    """A broker for this test only, which may be stopped, killed and restarted."""
    with PrivateBroker(run_dir / "broker") as server:
        yield server


@pytest.fixture
def slurm_factory(run_dir: Path) -> Iterator[Callable[[SlurmSettings], PrivateSlurm]]:
    """A function that starts a private Slurm, which stops at the end of the test."""
    with ExitStack() as running:

        def start(settings: SlurmSettings) -> PrivateSlurm:
            folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=run_dir))
            folder.chmod(0o755)
            return running.enter_context(PrivateSlurm(folder, settings))

        yield start


@pytest.fixture(scope="session")
def openstack(session_dir: Path) -> Iterator[RealOpenStack]:
    """A real OpenStack. Tests that use it have the mark `openstack` and leave no servers and no orders."""
    with RealOpenStack(session_dir / "os") as cloud:
        yield cloud
