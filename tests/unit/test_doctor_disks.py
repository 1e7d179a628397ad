"""`lamplighter doctor` names folders that are not on a disk of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.doctor import disks
from ops.doctor.access import User
from ops.doctor.host import of_hooks, of_stores
from tests.unit.test_doctor import GOOD_TOML
from workers.config.settings import load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("ext4", []),
        ("overlay", []),
        ("tmpfs", ["hooks.spool", "hooks.state", "store.url", "store.audit_url"]),
        ("nfs4", ["hooks.spool", "store.url", "store.audit_url"]),
        ("fuse.sshfs", ["hooks.spool", "store.url", "store.audit_url"]),
    ],
)
def test_what_is_in_memory_or_on_a_network_is_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, kind: str, keys: list[str]
) -> None:
    """The clock may be on a network: both controllers of a pair use it."""
    folder = run_dir / "a site"
    folder.mkdir()
    mounts = run_dir / "mounts"
    written = str(folder).replace(" ", r"\040")
    mounts.write_text(
        f"none / xfs rw 0 0\nx {written} ext3 rw 0 0\nx {written} {kind} rw 0 0\nbad\n"
    )
    monkeypatch.setattr(disks, "_MOUNTS", mounts)
    (folder / "lamplighter.toml").write_text(GOOD_TOML)
    settings = load(folder / "lamplighter.toml", {})
    for name in ("spool", "clock"):
        (folder / name).mkdir(mode=0o700)
    me = User("me", folder.stat().st_uid, frozenset({folder.stat().st_gid}))
    found = [*of_hooks(settings.hook, settings.path, me), *of_stores(settings)]
    named = [one for one in found if one.kind == "disk"]
    assert [one.words.partition(":")[0] for one in named] == keys
    assert all(f"({kind})" in one.words and one.remedy for one in named)
    assert disks.file_system(run_dir / "elsewhere") == "xfs"
