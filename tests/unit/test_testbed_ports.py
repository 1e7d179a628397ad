"""A reserved port belongs to one test run."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.testbed import ports as module
from tests.testbed.ports import Ports

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def three_ports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Restrict the choice to three ports that are free for this test."""
    with Ports() as reserved:
        block = reserved.take_block(3)
    monkeypatch.setattr(module, "LOWEST", block[0])
    monkeypatch.setattr(module, "HIGHEST", block[-1])
    return list(block)


def test_no_port_is_reserved_twice(three_ports: list[int]) -> None:
    with Ports() as mine, Ports() as yours:
        assert sorted([mine.take(), yours.take(), mine.take()]) == three_ports
        with pytest.raises(RuntimeError, match="no free port"):
            yours.take()


def test_close_releases_the_ports(three_ports: list[int]) -> None:
    for _ in three_ports * 2:
        with Ports() as ports:
            ports.take()


def test_a_port_with_a_listener_is_not_given(three_ports: list[int]) -> None:
    with socket.create_server(("127.0.0.1", three_ports[1])), Ports() as ports:
        assert {ports.take(), ports.take()} == {three_ports[0], three_ports[2]}


@pytest.mark.slow
def test_another_process_keeps_its_ports_until_it_ends(three_ports: list[int]) -> None:
    program = (
        "import sys; from tests.testbed.ports import Ports; p = Ports();"
        f"assert p._reserve({three_ports[0]}); print('reserved', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"reserved\n"
        with Ports() as ports:
            assert sorted([ports.take(), ports.take()]) == three_ports[1:]
        other.kill()
    with Ports() as ports:
        assert sorted(ports.take() for _ in three_ports) == three_ports


def test_a_block_is_consecutive_and_below_the_ephemeral_ports() -> None:
    with Ports() as ports:
        block = ports.take_block(10)
        assert len(block) == 10
        assert block[-1] < 32768
        assert ports.take() not in block


def test_a_reservation_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Ports() as ports:
        ports.take()
    assert not [*tmp_path.iterdir()]
