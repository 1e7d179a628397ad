"""Checks where folders lie: on a disk of this host, in memory, or on a network."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ops.site.findings import Finding, wrong
from ops.site.kinds import Kind

# Less free space than this, in bytes, and a storm of requests may fill the disk.
_SPACE = 100 * 2**20
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_ON_A_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "gpfs", "beegfs", "9p", "afs", "orangefs"}
)
_MOUNTS = Path("/proc/self/mounts")
_OCTAL = re.compile(r"\\([0-7]{3})")


def of_space(key: str, path: Path) -> Iterator[Finding]:
    """A file system that is nearly full."""
    try:
        free = shutil.disk_usage(path).free
    except OSError:
        return  # another finding says it
    if free < _SPACE:
        words = f"{key}: the file system of {path} has {free >> 20} MiB left"
        remedy = "free some space: a full disk stops the hooks"
        yield wrong(Kind.SPACE, words, remedy)


def of_disk(key: str, path: Path, *, shared: bool = False) -> Iterator[Finding]:
    """A folder that is not on a disk of this host.

    `path` is that of the setting `key`, or a file in it; `shared`: whether it may be on a network.
    """
    kind = file_system(path)
    where = "in memory" if kind in _IN_MEMORY else None
    if not shared and (kind in _ON_A_NETWORK or kind.startswith("fuse.")):
        where = "on a network"
    if where is not None:
        words = f"{key}: {path} is {where} ({kind})"
        yield wrong(Kind.DISK, words, f"name a local disk in {key}")


def file_system(path: Path) -> str:
    """The type of a path's file system, as proc(5) names it; empty if it is not known."""
    real, found, longest = Path(os.path.realpath(path)), "", 0
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for fields in (line.split(" ") for line in lines):
        if len(fields) < 3:  # noqa: PLR2004 - device, folder, type
            continue
        folder = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[1])
        if len(folder) >= longest and real.is_relative_to(folder):  # the last one counts
            found, longest = fields[2], len(folder)
    return found
