"""Keeps what a process writes and holds from other users."""

import os
import resource

_PRIVATE = 0o077
_SHARED_WITH_GROUP = 0o007


def keep_private() -> None:
    """New files are for their owner only, and no core dump holds this process's memory.

    A umask that shares files with the group and with nobody else stays: a unit's UMask=0007.
    """
    if (before := os.umask(_PRIVATE)) & _PRIVATE == _SHARED_WITH_GROUP:
        os.umask(before)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def forbid_dumps() -> None:
    """No other process of this user can read this one's memory, nor does a core dump hold it (prctl(2)).

    A hook does without: it would take as long as the request itself to load ctypes, and its user can
    read the hook's password in its file.
    """
    import ctypes  # noqa: PLC0415 - hooks do not call this

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


_PR_SET_DUMPABLE = 4
