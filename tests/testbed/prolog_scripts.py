"""Runs lamplighter-prolog as slurmctld does."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Self

import producers

SCRIPT = Path(producers.__file__).parent / "prolog.bash"
# What 22.05 blocks in its scripts.
BLOCKED = {
    getattr(signal, f"SIG{name}")
    for name in [
        "HUP",
        "INT",
        "QUIT",
        "ABRT",
        "USR1",
        "USR2",
        "PIPE",
        "ALRM",
        "TERM",
        "CHLD",
        "TSTP",
        "XCPU",
    ]
}
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-3]"}
NOBODY = 65534


class Scripts:
    """Starts lamplighter-prolog as slurmctld does; as `user`, and with `limits` of setrlimit(2).

    `blocked` are the signals that this slurmctld blocks, and `program` is the script or a variant of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.user: int | None = None
        self.limits: dict[int, int] = {}
        self.blocked = BLOCKED
        self.program = SCRIPT

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start one: with only SLURM_* variables, and `blocked` signals."""

        def prepare() -> None:
            for number in BLOCKED:  # nohup, for one, leaves some ignored
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_BLOCK, self.blocked)
            for kind, most in self.limits.items():
                resource.setrlimit(kind, (most, most))

        script = subprocess.Popen(
            [self.program, *arguments, self.folder],
            env=JOB | variables,
            preexec_fn=prepare,  # noqa: PLW1509
            start_new_session=True,
            user=self.user,
        )
        self.started.append(script)
        return script

    def give_away(self) -> None:
        """Let the folder be another user's."""
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for script in self.started:
            script.kill()
            script.wait()
