"""The file of signed heads."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.settings import ConfigError
from workers.audit.heads import Head, export_head


@pytest.fixture
def full_disk() -> Iterator[int]:
    """No file can grow beyond this number of bytes; what is before it is written."""
    most = 150
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield most
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_a_full_disk_leaves_no_part_of_a_head(full_disk: int, tmp_path: Path) -> None:
    """Otherwise the next head would continue that line, and `audit verify --heads` could read neither."""
    file, statement = tmp_path / "heads", {"cluster": "c" * 80}
    head = Head(1, "", "", statement)
    export_head(file, head)
    before = file.read_bytes()
    assert len(before) < full_disk < 2 * len(before)
    with pytest.raises(ConfigError, match=r"audit\.heads_file: .*free disk space"):
        export_head(file, head)
    assert file.read_bytes() == before
