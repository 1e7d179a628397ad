"""Distribute a run over the processes of pytest-xdist, and interrupt them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NoReturn

import psutil
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.testbed.waiting import until

if TYPE_CHECKING:
    from types import FrameType

    import pytest

# All tests in these files run on real OpenStack; in other files, a parameter shows it.
_OPENSTACK = ("tests/openstack/", "tests/e2e/test_real_cloud.py")
_STOP_TIMEOUT = 120.0


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Distributes tests file by file; all tests on real OpenStack go to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        on_openstack = "[real" in nodeid or file.startswith(_OPENSTACK)
        return "openstack" if on_openstack else file


def is_xdist_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests that another process distributes."""
    return hasattr(config, "workerinput")


def interrupt_once() -> None:
    """Let the first SIGINT or SIGTERM interrupt this process; later ones must not disturb the cleanup."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def interrupt_xdist_workers() -> None:
    """Interrupt this process's pytest-xdist workers and wait until their servers have ended."""
    workers = psutil.Process().children()
    for worker in workers:
        worker.send_signal(signal.SIGINT)
    until(lambda: not any(map(_has_children, workers)), _STOP_TIMEOUT, "the end of all servers")


def _has_children(process: psutil.Process) -> bool:
    try:
        return bool(process.children())
    except psutil.NoSuchProcess:
        return False
