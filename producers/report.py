"""Reports of hooks and the relay: to syslog, to the log file and to standard error."""

import sys
import syslog
import time
from contextlib import suppress

from producers.disk import open_file, unusable
from producers.settings import HookSettings
from schemas.envelope import rfc3339

_LONGEST = 2000


def report(settings: HookSettings | None, code: int, text: str) -> int:
    """Report one line, which names the field and the remedy; never fails. Returns `code`.

    `settings` name the log file; None if they could not be read. `code` is the exit status: 0
    reports a warning, any other an error. The text may be untrusted.
    """
    words = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    line = "".join(c if c.isprintable() else "?" for c in words)[:_LONGEST]
    syslog.openlog("lamplighter", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR if code else syslog.LOG_WARNING, line)
    with suppress(OSError, ValueError):  # the reader may have closed it
        print(f"lamplighter: {line}", file=sys.stderr)  # noqa: T201 - Slurm 24.11 logs it
    if settings is not None and settings.log_file is not None:
        try:
            with open_file(settings.log_file, "ab") as file:
                file.write(f"{rfc3339(time.time_ns())} exit={code} {line}\n".encode())
        except OSError as error:
            syslog.syslog(syslog.LOG_ERR, unusable("hooks.log_file", settings.log_file, error))
    return code
