"""A run that several processes share (pytest-xdist): who takes what, and how it is interrupted."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NoReturn

import psutil
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.testbed.waiting import until

if TYPE_CHECKING:
    from types import FrameType

    import pytest

# Files whose tests all run on real OpenStack; elsewhere a parameter says so.
_OPENSTACK = ("tests/openstack/", "tests/e2e/test_real_cloud.py")
_PATIENCE = 120.0


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """The processes share the run file by file; one of them has all that needs real OpenStack."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        on_openstack = "[real" in nodeid or file.startswith(_OPENSTACK)
        return "openstack" if on_openstack else file


def is_xdist_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for another one, which shares them out."""
    return hasattr(config, "workerinput")


def interrupt_once() -> None:
    """Let the first SIGINT or SIGTERM interrupt this process, and no later one its tidying up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def interrupt_xdist_workers() -> None:
    """Interrupt the processes that run tests for this one, and wait until their servers have ended."""
    sharers = psutil.Process().children()
    for sharer in sharers:
        sharer.send_signal(signal.SIGINT)
    until(lambda: not any(map(_has_children, sharers)), _PATIENCE, "the end of all servers")


def _has_children(process: psutil.Process) -> bool:
    try:
        return bool(process.children())
    except psutil.NoSuchProcess:
        return False
