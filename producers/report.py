"""What hooks and the relay say, where an operator looks: syslog, the log file, standard error."""

import sys
import syslog
import time
from contextlib import suppress
from pathlib import Path

from schemas.envelope import rfc3339

_LONGEST = 2000


def report(log_file: Path | None, code: int, text: str) -> int:
    """Tell one line, which names field and remedy; never fails. Returns `code`.

    Args:
        log_file: or None for syslog and standard error alone.
        code: the exit status it stands for; 0 makes it a warning, all else an error.
        text: may hold anything.
    """
    words = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    line = "".join(c if c.isprintable() else "?" for c in words)[:_LONGEST]
    syslog.openlog("lamplighter", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR if code else syslog.LOG_WARNING, line)
    with suppress(OSError, ValueError):  # nobody reads it any more
        print(f"lamplighter: {line}", file=sys.stderr)  # noqa: T201 - Slurm 24.11 logs it
    if log_file is not None:
        try:
            with log_file.open("a") as file:
                file.write(f"{rfc3339(time.time_ns())} exit={code} {line}\n")
        except OSError as error:
            syslog.syslog(syslog.LOG_ERR, f"hooks.log_file: {error.strerror}: mend its folder")
    return code
