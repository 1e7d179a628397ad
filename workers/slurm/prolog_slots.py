"""How many scripts may wait in lamplighter-prolog without harm to slurmctld.

Its shutdown with many waiting scripts can crash slurmscriptd, and then hangs (before 26.05, measured:
from 20 scripts on with 22.05, from 60 on with 24.11). glibc's setting pthread.stack_cache_size in
slurmctld's environment prevents it.
"""

import os
import re
from pathlib import Path

_FIXED, _LESS_FRAGILE = (26, 5), (23, 11)
_MOST, _SOME, _FEW = 1000, 40, 10
_TUNABLE = re.compile(rb"glibc\.pthread\.stack_cache_size=([0-9]{1,20})(?![^:])")
# The cache must hold the stack of each script's thread, of 1 MiB (STACK_SIZE of slurmscriptd).
_STACKS = _MOST << 20
# The first glibc that knows the setting; others ignore it.
_KNOWS = (2, 34)


def default_slots(version: str, *, tuned: bool | None) -> int:
    """The number of scripts that may wait, by what `scontrol --version` prints and `is_tuned` says."""
    number = version_in(version)
    if number >= _FIXED or tuned:
        return _MOST
    return _SOME if number >= _LESS_FRAGILE else _FEW


def version_in(text: str) -> tuple[int, int]:
    """The first version, as (22, 5), in what a program prints; (0, 0) if there is none."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def knows_tunable(libc: str | None = None) -> bool:
    """Whether this host's C library knows the setting; `libc`: its name and version, as `glibc 2.36`."""
    if libc is None:
        try:
            libc = os.confstr("CS_GNU_LIBC_VERSION")
        except ValueError:  # another C library
            return False
    return (libc or "").startswith("glibc ") and version_in(libc or "") >= _KNOWS


def is_tuned(proc: Path = Path("/proc"), libc: str | None = None) -> bool | None:
    """Whether each slurmctld on this host has the setting; None if that cannot be read, or none runs.

    Only its own user and root can read the environment of a process: proc(5). `libc`: as for
    `knows_tunable`; where glibc is too old, nothing is tuned.
    """
    if not knows_tunable(libc):
        return False
    found: list[bool] = []
    for process in proc.glob("[0-9]*"):
        try:
            if (process / "comm").read_bytes() == b"slurmctld\n":
                found.append(_has_tunable((process / "environ").read_bytes()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        except OSError:
            return None
    return all(found) if found else None


def _has_tunable(environ: bytes) -> bool:
    for variable in environ.split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == b"GLIBC_TUNABLES":
            sizes = _TUNABLE.findall(value)
            return bool(sizes) and int(sizes[-1]) >= _STACKS
    return False
