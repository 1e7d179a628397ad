"""The file of signed heads."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.settings import ConfigError
from workers.audit.heads import Head, export_head
from workers.audit.signing import load_signer, load_trusted

# On a curve that no library of ours knows.
PRIVATE = "MEACAQEEDrgUx43Jf3te0bvy2EaQoAcGBWcrAQQBoSIDIAAEANTlsqm6dW/cn/16+9ljAEdbu3RZUMYvp61WgoAj"
PUBLIC = "MDQwEAYHKoZIzj0CAQYFZysBBAEDIAAEANTlsqm6dW/cn/16+9ljAEdbu3RZUMYvp61WgoAj"


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


def test_a_key_of_an_unknown_kind_is_named(tmp_path: Path) -> None:
    """The audit worker records events all the same, which any other error would end."""
    key = tmp_path / "key"
    for kind, text, load in (
        ("EC PRIVATE KEY", PRIVATE, load_signer),
        ("PUBLIC KEY", PUBLIC, lambda path: load_trusted([path])),
    ):
        key.touch(mode=0o600)
        key.write_text(f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
        with pytest.raises(ConfigError, match=rf"{key} is not "):
            load(key)
