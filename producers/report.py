"""What hooks and the relay say, where an operator looks: syslog, the log file, standard error."""

import sys
import syslog
import time
from contextlib import suppress

from producers.settings import HookSettings
from schemas.envelope import rfc3339

_LONGEST = 2000


def report(settings: HookSettings | None, code: int, text: str) -> int:
    """Tell one line, which names field and remedy; never fails. Returns `code`.

    Args:
        settings: name the log file; None where they could not be read.
        code: the exit status it stands for; 0 makes it a warning, all else an error.
        text: may hold anything.
    """
    words = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    line = "".join(c if c.isprintable() else "?" for c in words)[:_LONGEST]
    syslog.openlog("lamplighter", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR if code else syslog.LOG_WARNING, line)
    with suppress(OSError, ValueError):  # nobody reads it any more
        print(f"lamplighter: {line}", file=sys.stderr)  # noqa: T201 - Slurm 24.11 logs it
    if settings is not None and settings.log_file is not None:
        try:
            with settings.log_file.open("a") as file:
                file.write(f"{rfc3339(time.time_ns())} exit={code} {line}\n")
        except OSError as error:
            syslog.syslog(syslog.LOG_ERR, f"hooks.log_file: {error.strerror}: mend its folder")
    return code
